//! `womm_stream`'s greeting and resumable stream, with a peer that sends anything, and with wires that break anywhere.

use crate::input::{Input, Pieces, at_once, now};
use crate::memory::at_most;
use crate::stream::{run, turns};
use std::collections::VecDeque;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use womm_stream::greeting::{Agent, Greeted, GreetingError, Workstation, parses};
use womm_stream::resumable::{Broke, Config, Keeper, Link, stream};
use womm_stream::sequence::{HEADER, Incoming, Kind, MOST_DATA, Outgoing, header, put_header};

/// No wire of a test is ever so long without a byte.
const NEVER: Duration = Duration::from_secs(3600);

fn config(window: usize) -> Config {
    Config { window, interval: NEVER, deadline: NEVER }
}

/// The first line, of either side.
pub fn greeting(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seed = input.number(2);
    let sent = input.rest();
    let line = sent.iter().position(|b| *b == b'\n').map(|end| &sent[..end]);
    // An error goes to the user's terminal.
    let said = |error: GreetingError| {
        let words = error.to_string();
        assert!(!words.chars().any(char::is_control), "{words:?}");
        if matches!(error, GreetingError::Wire(_)) {
            assert!(line.is_none() && sent.len() < 256, "the line was there");
        }
    };
    at_most(256 << 10, || {
        run(async {
            let agent = Agent::new("i");
            match at_once(agent.greet(Pieces::new(sent, seed))) {
                Ok(Greeted::Owner(..)) => assert!(line.is_some_and(parses)),
                Ok(Greeted::Refused) => assert!(line.is_some_and(parses) && !agent.is_connected()),
                Ok(Greeted::Again(_)) => panic!("nobody was there before"),
                Err(error) => said(error),
            }
            // The lines that follow as further greetings, each on a wire of its own; all wires stay.
            let mut greeted = Vec::new();
            for line in sent.split_inclusive(|b| *b == b'\n').take(4) {
                greeted.extend(at_once(agent.greet(Pieces::new(line, seed))));
            }
            assert!(greeted.iter().filter(|greeted| matches!(greeted, Greeted::Owner(..))).count() <= 1, "two owners");
            let workstation = Workstation::new("abcdefgh", "s", config(4096));
            match at_once(workstation.greet(Pieces::new(sent, seed))) {
                Ok((session, _)) => {
                    assert!(session.is_some() && workstation.over().is_none());
                    // And a second wire, with the same answer.
                    match at_once(workstation.greet(Pieces::new(sent, seed))) {
                        Ok((session, _)) => assert!(session.is_none()),
                        Err(error) => said(error),
                    }
                }
                Err(error) => said(error),
            }
            turns(4).await;
        });
    });
}

/// The bookkeeping against two rows of bytes.
pub fn sequence(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if let Some(head) = bytes.first_chunk::<HEADER>()
        && let Ok((kind, length, number)) = header(*head)
    {
        assert!(length <= MOST_DATA);
        let mut again = Vec::new();
        put_header(&mut again, kind, length, number);
        assert_eq!(again, head);
    }

    let window = input.number(2) as usize % 3000 + 1;
    let (mut outgoing, mut incoming) = (Outgoing::new(window), Incoming::new(window));
    // What was written, read, and the frames that are on the wire. Numbers of bytes are enough to tell where they are.
    let (mut written, mut read, mut acked) = (Vec::new(), Vec::new(), 0u64);
    let (mut there, mut back) = (VecDeque::new(), VecDeque::new());
    let mut buffer = [0; 512];
    while !input.is_empty() {
        let op = input.byte();
        match op & 7 {
            0 | 1 => {
                let data: Vec<u8> = (0..input.number(2) % 600).map(|n| (written.len() as u64 + n) as u8).collect();
                let room = outgoing.room();
                let count = outgoing.write(&data);
                assert_eq!(count, room.min(data.len()));
                written.extend_from_slice(&data[..count]);
                assert!(written.len() - acked as usize <= window);
            }
            2 => {
                let mut frame = Vec::new();
                let unsent = outgoing.has_unsent();
                assert_eq!(outgoing.put_next(&mut frame), unsent);
                there.extend(unsent.then_some(frame));
            }
            3 => {
                if let Some(frame) = there.pop_front() {
                    let (head, payload) = frame.split_first_chunk::<HEADER>().expect("a header");
                    let (kind, length, number) = header(*head).expect("our own");
                    assert_eq!((kind, length), (Kind::Data, payload.len()));
                    incoming.take(number, payload).expect("an honest end");
                }
            }
            4 => {
                let count = incoming.read(&mut buffer[..usize::from(op >> 3) * 16]);
                read.extend_from_slice(&buffer[..count]);
            }
            5 => {
                let mut frame = Vec::new();
                incoming.put_ack(&mut frame);
                assert!(!incoming.ack_is_due());
                back.push_back(frame);
            }
            6 => {
                if let Some(frame) = back.pop_front() {
                    let (_, _, number) = header(*frame.first_chunk().expect("a header")).expect("our own");
                    outgoing.acknowledge(number).expect("an honest end");
                    assert!(number >= acked && number <= read.len() as u64);
                    acked = number;
                }
            }
            // A new wire: what is on the old one is gone. Or somebody who lies.
            _ if op & 8 == 0 => {
                there.clear();
                back.clear();
                outgoing.resume(incoming.received()).expect("an honest end");
                incoming.resume();
            }
            _ => {
                let number = input.number(8);
                let room = window - (incoming.received() as usize - read.len());
                let lie = &buffer[..usize::from(op >> 4) * 32];
                let fits = number == incoming.received() && lie.len() <= room;
                if !fits {
                    assert!(incoming.take(number, lie).is_err());
                }
                assert!(number <= written.len() as u64 || outgoing.acknowledge(number).is_err());
                assert!(number <= written.len() as u64 || outgoing.resume(number).is_err());
            }
        }
        assert_eq!(read, written[..read.len()], "other bytes than were written");
        assert!(incoming.received() as usize <= written.len());
    }
}

/// A resumable stream whose other end sends anything, on one wire after the other.
pub fn link(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = input.byte();
    let window = 4096usize << (settings & 3);
    // The wire's two buffers, both directions' windows (which grow by doubling), and of each wire what it reads into and
    // writes from; an old one may still be there when the next begins.
    let most = (16 << 10) + 4 * window + 2 * (3 * MOST_DATA) + 16 * bytes.len() + (32 << 10);
    at_most(most, || {
        run(async {
            let (keeper, mut link) = stream(config(window));
            let mut wire: Option<(DuplexStream, JoinHandle<Broke>)> = None;
            // What the peer takes for sent, and how much came out.
            let (mut sent, mut got) = (0, 0);
            let mut buffer = [0; 2048];
            while !input.is_empty() {
                let op = input.byte();
                match op & 7 {
                    0 => {
                        let settled = keeper.let_go();
                        sent = settled.received;
                        let (near, far) = duplex(8 << 10);
                        let received = if op & 8 == 0 { 0 } else { input.number(8) };
                        if let Ok(attached) = keeper.attach(near, settled, received, input.number(2) as usize) {
                            wire = Some((far, tokio::spawn(attached.run())));
                        }
                    }
                    1 => wire = None,
                    2 | 3 => {
                        let data = input.bytes();
                        let mut frame = Vec::new();
                        if !data.is_empty() {
                            put_header(&mut frame, Kind::Data, data.len(), sent);
                            frame.extend_from_slice(data);
                        }
                        if let Some((far, _)) = &mut wire
                            && let Poll::Ready(Ok(())) = now(far.write_all(&frame))
                        {
                            sent += data.len() as u64;
                        }
                    }
                    4 => {
                        let mut frame = Vec::new();
                        let kind = [Kind::Ack, Kind::Data, Kind::Bye][usize::from(op >> 3) % 3];
                        put_header(&mut frame, kind, input.byte().into(), input.number(1));
                        if let Some((far, _)) = &mut wire {
                            let _ = now(far.write_all(&frame));
                        }
                    }
                    5 => {
                        let raw = input.bytes();
                        if let Some((far, _)) = &mut wire {
                            let _ = now(far.write_all(raw));
                        }
                    }
                    6 => {
                        let _ = now(link.write(&buffer[..usize::from(op >> 3) * 64]));
                    }
                    _ => {
                        if let Poll::Ready(Ok(count)) = now(link.read(&mut buffer[..usize::from(op >> 3) * 64])) {
                            got += count;
                        }
                    }
                }
                turns(2).await;
                if let Some((far, _)) = &mut wire
                    && settings & 4 == 0
                {
                    while let Poll::Ready(Ok(1..)) = now(far.read(&mut buffer)) {}
                }
            }
            // It hears that a wire is gone, and that the stream is over.
            if let Some((far, running)) = wire {
                drop(far);
                turns(16).await;
                assert!(running.is_finished(), "the wire is gone and still in service");
                running.await.expect("no panic");
            }
            assert!(keeper.without_wire().is_some());
            let received = keeper.let_go().received;
            keeper.finish("the end");
            while let Ok(count @ 1..) = at_once(link.read(&mut buffer)) {
                got += count;
            }
            assert_eq!(got as u64, received, "what has arrived can be read");
            assert!(matches!(now(link.write(b"x")), Poll::Ready(Err(_))));
        });
    });
}

/// Two honest ends whose wires break anywhere: every byte arrives, once and in order.
pub fn wires(bytes: &[u8]) {
    struct End {
        keeper: Keeper,
        link: Link,
        written: Vec<u8>,
        read: Vec<u8>,
    }

    impl End {
        fn new(window: usize) -> Self {
            let (keeper, link) = stream(config(window));
            Self { keeper, link, written: Vec::new(), read: Vec::new() }
        }

        fn write(&mut self, count: usize) {
            let from = self.written.len();
            let data: Vec<u8> = (from..from + count).map(|n| (n ^ (n >> 8)) as u8).collect();
            if let Poll::Ready(written) = now(self.link.write(&data)) {
                self.written.extend_from_slice(&data[..written.expect("not over")]);
            }
        }

        fn read(&mut self, count: usize) -> usize {
            let mut buffer = vec![0; count];
            let Poll::Ready(read) = now(self.link.read(&mut buffer)) else { return 0 };
            let count = read.expect("not over");
            self.read.extend_from_slice(&buffer[..count]);
            count
        }
    }

    /// A wire of which so many bytes arrive each way before it breaks.
    struct Wire {
        ends: [JoinHandle<Broke>; 2],
        far: [DuplexStream; 2],
        left: [usize; 2],
        /// Taken from one end and not yet by the other.
        under_way: [Vec<u8>; 2],
    }

    impl Wire {
        fn between(ends: &[End; 2], windows: [usize; 2], left: [usize; 2]) -> Self {
            let settled = [ends[0].keeper.let_go(), ends[1].keeper.let_go()];
            let (near_a, far_a) = duplex(1000);
            let (near_b, far_b) = duplex(700);
            let a = ends[0].keeper.attach(near_a, settled[0], settled[1].received, windows[1]).expect("honest");
            let b = ends[1].keeper.attach(near_b, settled[1], settled[0].received, windows[0]).expect("honest");
            Self {
                ends: [tokio::spawn(a.run()), tokio::spawn(b.run())],
                far: [far_a, far_b],
                left,
                under_way: Default::default(),
            }
        }

        /// Carries what is there now; whether it is whole.
        fn carry(&mut self) -> bool {
            let mut buffer = [0; 500];
            for way in 0..2 {
                if self.left[way] == 0 {
                    return false;
                }
                let under_way = &mut self.under_way[way];
                let most = self.left[way].min(buffer.len() - under_way.len());
                if most > 0
                    && let Poll::Ready(Ok(count)) = now(self.far[way].read(&mut buffer[..most]))
                {
                    self.left[way] -= count;
                    under_way.extend_from_slice(&buffer[..count]);
                }
                if !under_way.is_empty()
                    && let Poll::Ready(Ok(count)) = now(self.far[1 - way].write(under_way))
                {
                    under_way.drain(..count);
                }
            }
            true
        }
    }

    let mut input = Input::new(bytes);
    let windows = [4096 << (input.byte() & 3), 4096 << (input.byte() & 3)];
    at_most((1 << 20) + 8 * (windows[0] + windows[1]) + 4096 * bytes.len(), || {
        run(async {
            let mut ends = [End::new(windows[0]), End::new(windows[1])];
            // As in the greeting: before the first wire nobody has the link, for the other end may hold less than we do.
            let left = [input.number(2) as usize, input.number(2) as usize];
            let mut wire = Some(Wire::between(&ends, windows, left));
            let mut budget = 40;
            while !input.is_empty() {
                let op = input.byte();
                let which = usize::from(op >> 3 & 1);
                match op & 7 {
                    0 if budget > 0 => {
                        budget -= 1;
                        let left = [input.number(2) as usize, input.number(2) as usize];
                        wire = Some(Wire::between(&ends, windows, left));
                    }
                    1 if op & 0xf0 == 0 => wire = None,
                    2 | 3 => ends[which].write(usize::from(input.byte()) * 4),
                    4 => _ = ends[which].read(usize::from(input.byte()) * 4 + 1),
                    _ => {
                        turns(2).await;
                        if wire.as_mut().is_some_and(|wire| !wire.carry()) {
                            wire = None;
                        }
                    }
                }
            }
            drop(wire);
            // A last wire that holds: all that was written arrives, in turns that are not without end.
            let mut last = Wire::between(&ends, windows, [usize::MAX; 2]);
            for _ in 0..2000 {
                if ends[0].read.len() == ends[1].written.len() && ends[1].read.len() == ends[0].written.len() {
                    break;
                }
                for end in &mut ends {
                    while end.read(1000) > 0 {}
                }
                turns(2).await;
                assert!(last.carry(), "an honest wire broke");
            }
            assert!(ends[0].read == ends[1].written && ends[1].read == ends[0].written, "bytes are lost, or others");
            for end in last.ends {
                assert!(!end.is_finished());
                end.abort();
            }
        });
    });
}
