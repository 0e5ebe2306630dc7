//! SIGKILL between the moment a field is given a time and that time: it goes when it is to, and stays away.

use crate::common::{Connection, Options, Program, Reply, Server, wait_until};

/// A time that is far off, Unix milliseconds.
const LATE: &str = "9999999999999";

#[test]
fn fields_expire_after_a_kill() {
    survive(false);
}

#[test]
fn fields_expire_after_a_kill_and_a_checkpoint() {
    survive(true);
}

fn survive(has_checkpoint: bool) {
    let options = Options::new(Program::Subject).durability("always");
    let mut server = Server::start(options);
    let mut client = server.connect();
    assert_eq!(
        client.run("HSET h soon 1 late 2 kept 3 cleared 4"),
        Reply::Integer(4)
    );
    assert_eq!(client.run("HSET all soon 1"), Reply::Integer(1));
    // Long enough for a checkpoint to have them.
    let soon = if has_checkpoint { 3000 } else { 700 };
    for line in [
        format!("HPEXPIREAT h {LATE} FIELDS 2 late cleared"),
        "HSET h cleared 5".to_owned(),
        format!("HPEXPIRE h {soon} FIELDS 1 soon"),
        format!("HPEXPIRE all {soon} FIELDS 1 soon"),
    ] {
        let reply = client.run(&line);
        assert!(!reply.is_error(""), "{line}: {reply}");
    }
    if has_checkpoint {
        let before = client.run("LASTSAVE").integer();
        // The time is told in seconds.
        wait_until("a later checkpoint", || {
            let reply = client.run("BGSAVE");
            assert!(!reply.is_error("ERR unknown"), "{reply}");
            client.run("LASTSAVE").integer() > before
        });
    }
    server.kill();
    server.restart();
    check(&mut server.connect());
    // What went is not there again, though no record says that it went.
    server.kill();
    server.restart();
    check(&mut server.connect());
}

/// Waits until the fields are gone whose time it is, and looks at the others.
fn check(client: &mut Connection) {
    wait_until("the fields' time", || {
        client.run("HEXISTS h soon") == Reply::Integer(0)
            && client.run("EXISTS all") == Reply::Integer(0)
    });
    assert_eq!(client.run("HLEN h"), Reply::Integer(3));
    let values = client.run("HMGET h soon late kept cleared");
    let values: Vec<_> = values.items().iter().map(Reply::text).collect();
    assert_eq!(values[1..], ["2", "3", "5"]);
    let times = client.run("HPEXPIRETIME h FIELDS 4 soon late kept cleared");
    let times: Vec<_> = times.items().iter().filter_map(Reply::integer).collect();
    let late = LATE.parse().expect("a number");
    assert_eq!(times, [-2, late, -1, -1]);
}
