//! Greetings between ends that agree, do not, come late or twice.

use super::*;
use tokio::io::{DuplexStream, duplex};

fn workstation(id: &str) -> Workstation {
    Workstation::new("task", id, Config::default())
}

/// Greets over a new wire; both sides' outcome.
async fn meet(
    near: &Workstation,
    far: &Agent,
) -> (Result<(Option<Session>, Attached<DuplexStream>), GreetingError>, Result<Greeted<DuplexStream>, GreetingError>) {
    let (a, b) = duplex(4096);
    tokio::join!(near.greet(a), far.greet(b))
}

#[tokio::test]
async fn the_first_is_the_owner_and_others_are_refused() {
    let agent = Agent::new("i");
    let (first, second) = (workstation("a"), workstation("b"));
    let (near, far) = meet(&first, &agent).await;
    let (session, _attached) = near.expect("free");
    assert!(session.is_some());
    let Ok(Greeted::Owner(_session, _incoming, attached)) = far else { panic!("no owner") };
    assert!(agent.is_connected());
    assert!(matches!(meet(&second, &agent).await.0, Err(GreetingError::Owned)));
    let running = tokio::spawn(attached.run());
    let (near, far) = meet(&first, &agent).await;
    assert!(matches!((near, far), (Ok((None, _)), Ok(Greeted::Again(_)))), "the owner may come again");
    assert_eq!(running.await.expect("no panic"), crate::resumable::Broke::Replaced);
    // Not connected, but not for long enough either.
    assert!(matches!(meet(&second, &agent).await.0, Err(GreetingError::Owned)));
    agent.finish("the test says so");
    assert!(meet(&second, &agent).await.0.expect("free").0.is_some());
}

/// A greeting that the workstation has given up, but that still reaches the agent.
async fn late(claim: &Claim, far: &Agent) -> String {
    let (mut a, b) = duplex(4096);
    claim.line().write(&mut a).await.expect("room");
    let _ = far.greet(b).await;
    Line::read(&mut a).await.expect("an answer").words.join(" ")
}

#[tokio::test]
async fn a_greeting_that_comes_late_takes_nobodys_place() {
    let (agent, first) = (Agent::new("i"), workstation("a"));
    let (near, far) = meet(&first, &agent).await;
    let (Some(session), attached) = near.expect("free") else { panic!("no session") };
    let Ok(Greeted::Owner(_session, mut incoming, theirs)) = far else { panic!("no owner") };
    let claim = |number| Claim {
        task: "task".into(),
        stream: "a".into(),
        instance: Some("i".into()),
        number,
        received: 0,
        config: Config::default(),
    };
    let early = claim(1);
    let _ = meet(&first, &agent).await; // number 1
    let (near, far) = meet(&first, &agent).await;
    let (Ok((None, ours)), Ok(Greeted::Again(theirs_again))) = (near, far) else { panic!("it may come again") };
    drop((attached, theirs));
    assert_eq!(late(&early, &agent).await, "i refused stale", "there was a later one");
    let (near, far) = (tokio::spawn(ours.run()), tokio::spawn(theirs_again.run()));
    // More than the window: some of it was consumed, so acknowledged and forgotten.
    let mut stream = session.open().await.expect("alive");
    stream.write_all(b"x").await.expect("alive");
    let mut served = incoming.recv().await.expect("opened");
    tokio::spawn(async move { served.write_all(&vec![0; 3 << 20]).await });
    let mut got = vec![0; 3 << 20];
    stream.read_exact(&mut got).await.expect("all");
    assert_eq!(late(&claim(9), &agent).await, "i refused stale", "what it asks for is no more");
    assert!(!near.is_finished() && !far.is_finished() && agent.is_connected());
}

#[tokio::test(start_paused = true)]
async fn of_greetings_that_are_under_way_together_one_counts_however_slow_the_agent() {
    let (agent, first) = (std::sync::Arc::new(Agent::new("i")), workstation("a"));
    let (near, far) = meet(&first, &agent).await;
    let (Ok((Some(_session), ours)), Ok(Greeted::Owner(_theirs, _incoming, attached))) = (near, far) else {
        panic!("no owner")
    };
    drop((ours, attached));
    // As dial.rs does it: one more each half second, all of which reach an agent that takes 7 s to start.
    let greet = || async {
        let (near, far) = duplex(4096);
        let agent = agent.clone();
        let served = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(7)).await;
            match agent.greet(far).await {
                Ok(Greeted::Again(attached)) => Some(attached.run().await),
                _ => None,
            }
        });
        (first.greet(near).await, served)
    };
    let wait = |tenths: u64| tokio::time::sleep(Duration::from_millis(100 * tenths));
    let mut rest = Box::pin(futures::future::join3(
        async {
            wait(5).await;
            greet().await
        },
        async {
            wait(10).await;
            greet().await
        },
        async {
            wait(15).await;
            greet().await
        },
    ));
    let (ours, served) = tokio::select! {
        greeted = greet() => greeted,
        _ = &mut rest => panic!("the first is first"),
    };
    let (_, ours) = ours.expect("taken");
    let ours = tokio::spawn(ours.run());
    drop(rest); // given up, but on their way
    wait(100).await;
    assert!(!ours.is_finished() && !served.is_finished() && agent.is_connected(), "its wire was taken away");
}

#[tokio::test]
async fn an_answer_that_never_came_costs_one_more_greeting() {
    let (agent, first) = (Agent::new("i"), workstation("a"));
    let (near, mut far) = duplex(4096);
    // The agent takes it, and the wire dies with the answer.
    let taken = async {
        let mut line = [0; MOST];
        let count = far.read(&mut line).await.expect("a greeting");
        let (mut to_agent, wire) = duplex(4096);
        to_agent.write_all(&line[..count]).await.expect("room");
        assert!(matches!(agent.greet(wire).await, Ok(Greeted::Owner(..))));
        drop(far);
    };
    let (lost, ()) = tokio::join!(first.greet(near), taken);
    assert!(matches!(lost, Err(GreetingError::Wire(_))));
    assert!(matches!(meet(&first, &agent).await, (_, Ok(Greeted::Again(_)) | Ok(Greeted::Owner(..)))));
}

#[tokio::test]
async fn an_agent_that_was_started_anew_knows_no_stream() {
    let near = workstation("a");
    let first = meet(&near, &Agent::new("i")).await;
    assert!(first.0.is_ok());
    assert!(matches!(meet(&near, &Agent::new("j")).await.0, Err(GreetingError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_silent_for_long_is_followed_by_another() {
    let agent = Agent::new("i");
    let (first, second) = (workstation("a"), workstation("b"));
    let (near, far) = meet(&first, &agent).await;
    let Ok(Greeted::Owner(_session, _incoming, attached)) = far else { panic!("no owner") };
    drop(near);
    attached.run().await;
    assert!(matches!(meet(&second, &agent).await.0, Err(GreetingError::Owned)));
    tokio::time::advance(OWNER_IS_GONE).await;
    assert!(meet(&second, &agent).await.0.is_ok());
    assert!(matches!(meet(&first, &agent).await.0, Err(GreetingError::Unknown)));
}

async fn against(theirs: &str) -> Result<(), GreetingError> {
    let (near, mut far) = duplex(1024);
    far.write_all(theirs.as_bytes()).await.expect("room");
    workstation("a").greet(near).await.map(drop)
}

#[tokio::test]
async fn what_else_may_answer() {
    let protocol = names::PROTOCOL;
    assert!(against(&format!("womm {protocol} 9.9 i stream 0 4096 later words\nrest")).await.is_ok());
    assert!(matches!(against("womm 1 9.9 i\n").await, Err(GreetingError::Version { theirs }) if theirs == "9.9"));
    // What goes to a terminal can't clear it.
    let clearing = against("womm 1 \x1b[2J i\n").await.expect_err("another protocol").to_string();
    assert!(!clearing.contains('\x1b'), "{clearing:?}");
    for foreign in ["SSH-2.0-x\r\n", &"x".repeat(400), &format!("womm {protocol} 9.9 i stream x 1\n"), "womm\n"] {
        assert!(matches!(against(foreign).await, Err(GreetingError::Foreign(_))), "{foreign}");
    }
    // Bytes acknowledged that were never sent.
    let lie = format!("womm {protocol} 9.9 i stream 7 4096\n");
    assert!(matches!(against(&lie).await, Err(GreetingError::TooLate(_))));
}

#[tokio::test]
async fn a_break_in_the_greeting_is_an_error() {
    let (near, far) = duplex(1024);
    drop(far);
    assert!(matches!(workstation("a").greet(near).await, Err(GreetingError::Wire(_))));
    let (mut near, far) = duplex(1024);
    near.write_all(b"womm 1 0.1.0 x\n").await.expect("room");
    let answer = Agent::new("i").greet(far).await;
    assert!(matches!(answer, Err(GreetingError::Version { .. })));
    let mut line = Line::read(&mut near).await.expect("ours, so that they can say it");
    assert_eq!((line.protocol, line.words.pop()), (names::PROTOCOL, Some("i".into())));
}
