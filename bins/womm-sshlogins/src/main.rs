//! Turns pods into hosts that GNU parallel may use: the sshloginfile and the job socket.

fn main() {}
