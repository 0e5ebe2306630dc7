//! Clients that wait for data, on both servers: who is served with what, in which order, and what ends their waiting.

use std::time::{Duration, Instant};

use crate::common::{Connection, Protocol, Reply, Server, encode_command, split_line, wait_until};

/// A server, a client that commands, and others that wait.
pub struct Stage {
    pub server: Server,
    pub control: Connection,
    pub protocol: Protocol,
    /// What was answered, in order.
    pub transcript: Vec<String>,
}

impl Stage {
    fn new(server: Server, protocol: Protocol) -> Self {
        let control = server.connect_as(protocol);
        Stage {
            server,
            control,
            protocol,
            transcript: Vec::new(),
        }
    }

    /// Executes a command.
    pub fn run(&mut self, line: &str) {
        let reply = self.control.run(line);
        self.transcript.push(format!("{line}: {reply}"));
    }

    fn field(&mut self, section: &str, name: &str) -> usize {
        let info = self.control.run(&format!("INFO {section}")).text();
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.strip_prefix(':'));
        value.expect("the field").trim().parse().expect("a number")
    }

    pub fn blocked(&mut self) -> usize {
        self.field("clients", "blocked_clients")
    }

    /// Another client that waits for what this command waits for.
    pub fn waiter(&mut self, line: &str) -> Connection {
        let mut waiter = self.server.connect_as(self.protocol);
        let before = self.blocked();
        send(&mut waiter, line);
        wait_until("the client waits", || self.blocked() > before);
        waiter
    }

    /// The next reply of a client that waits.
    pub fn read(&mut self, name: &str, waiter: &mut Connection) {
        let reply = waiter.read();
        self.transcript.push(format!("{name}: {reply}"));
    }
}

pub fn send(connection: &mut Connection, line: &str) {
    let words = split_line(line).expect("a command line");
    connection
        .send(&encode_command(&words))
        .expect("it is taken");
}

/// Plays a scene on both servers in both protocol versions; what was answered must agree.
pub fn compare(scene: impl Fn(&mut Stage)) {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let transcripts = [Server::subject(), Server::oracle()].map(|server| {
            let mut stage = Stage::new(server, protocol);
            scene(&mut stage);
            stage.transcript
        });
        let [ours, theirs] = transcripts;
        assert_eq!(ours, theirs, "subject and oracle differ");
    }
}

#[test]
fn who_waits_longest_is_served_first() {
    compare(|stage| {
        let mut first = stage.waiter("BLPOP k 0");
        let mut second = stage.waiter("BRPOP other k 0");
        let mut third = stage.waiter("BLMPOP 0 2 k other LEFT COUNT 5");
        let mut fourth = stage.waiter("BLMOVE k done LEFT RIGHT 0");
        stage.run("RPUSH k 1");
        stage.run("EXISTS k");
        stage.read("first", &mut first);
        stage.run("RPUSH k 2 3 4 5 6 7 8");
        stage.read("second", &mut second);
        stage.read("third", &mut third);
        stage.read("fourth", &mut fourth);
        stage.run("LRANGE k 0 -1");
        stage.run("LRANGE done 0 -1");
    });
}

#[test]
fn several_elements_serve_several_waiters() {
    compare(|stage| {
        let mut waiters: Vec<_> = (0..5).map(|_| stage.waiter("BLPOP k 0")).collect();
        stage.run("LPUSH k a b c");
        for waiter in &mut waiters[..3] {
            stage.read("served", waiter);
        }
        stage.run("EXISTS k");
        stage.run("RPUSH k d e f");
        for waiter in &mut waiters[3..] {
            stage.read("served", waiter);
        }
        stage.run("LRANGE k 0 -1");
    });
}

#[test]
fn a_chain_of_moves_runs_through() {
    compare(|stage| {
        let mut last = stage.waiter("BLPOP c 0");
        let mut middle = stage.waiter("BRPOPLPUSH b c 0");
        let mut first = stage.waiter("BLMOVE a b LEFT LEFT 0");
        stage.run("RPUSH a x");
        stage.read("first", &mut first);
        stage.read("middle", &mut middle);
        stage.read("last", &mut last);
        stage.run("EXISTS a b c");
    });
}

#[test]
fn whatever_makes_a_list_wakes() {
    compare(|stage| {
        stage.run("RPUSH other 1");
        let mut waiter = stage.waiter("BLPOP k 0");
        stage.run("RENAME other k");
        stage.read("renamed", &mut waiter);
        stage.run("RPUSH other 1");
        let mut waiter = stage.waiter("BLPOP k 0");
        stage.run("COPY other k");
        stage.read("copied", &mut waiter);
        let mut waiter = stage.waiter("BLPOP k 0");
        stage.run("LMOVE other k LEFT LEFT");
        stage.read("moved", &mut waiter);
        stage.run("SELECT 1");
        stage.run("RPUSH k 1");
        let mut waiter = stage.waiter("BLPOP k 0");
        stage.run("MOVE k 0");
        stage.read("from another database", &mut waiter);
        let mut waiter = stage.waiter("BLPOP k 0");
        stage.run("RPUSH k 1");
        stage.run("SWAPDB 0 1");
        stage.read("swapped", &mut waiter);
    });
}

#[test]
fn members_of_sorted_sets_are_waited_for() {
    compare(|stage| {
        let mut first = stage.waiter("BZPOPMIN k 0");
        let mut second = stage.waiter("BZPOPMAX other k 0");
        let mut third = stage.waiter("BZMPOP 0 2 k other MAX COUNT 2");
        let mut list = stage.waiter("BLPOP k 0");
        stage.run("ZADD k 1.5 a");
        stage.run("EXISTS k");
        stage.read("first", &mut first);
        stage.run("ZADD k 1 a 2 b 3 c 4 d 5 e");
        stage.read("second", &mut second);
        stage.read("third", &mut third);
        stage.run("ZRANGE k 0 -1 WITHSCORES");
        stage.run("DEL k");
        stage.run("RPUSH k 1");
        stage.read("list", &mut list);
    });
}

#[test]
fn whatever_makes_a_sorted_set_wakes() {
    compare(|stage| {
        stage.run("ZADD other 1 a 2 b");
        for (line, made) in [
            ("BZPOPMIN k 0", "ZINCRBY k 3 x"),
            ("BZPOPMAX k 0", "ZADD k INCR 3 x"),
            ("BZMPOP 0 1 k MIN COUNT 9", "ZUNIONSTORE k 1 other"),
            ("BZMPOP 0 1 k MAX COUNT 9", "ZRANGESTORE k other 0 -1"),
            ("BZPOPMAX k nope 0", "GEOADD k 13.36 38.11 Palermo"),
            ("BZPOPMIN nope k 0", "COPY other k REPLACE"),
        ] {
            let mut waiter = stage.waiter(line);
            stage.run(made);
            stage.read(line, &mut waiter);
        }
        stage.run("DEL k");
        let mut waiter = stage.waiter("BZPOPMIN k 0");
        stage.run("RENAME other k");
        stage.read("renamed", &mut waiter);
        stage.run("DEL k");
        let mut waiter = stage.waiter("BZPOPMIN k 0");
        for line in ["MULTI", "ZADD k 1 gone", "DEL k", "ZADD k 2 stays", "EXEC"] {
            stage.run(line);
        }
        stage.read("after a transaction", &mut waiter);
        let mut waiter = stage.waiter("BZPOPMIN k 0");
        stage.run("EVAL \"return redis.call('zadd', KEYS[1], 1, 'a', 2, 'b')\" 1 k");
        stage.read("after a script", &mut waiter);
        stage.run("ZRANGE k 0 -1");
    });
}

#[test]
fn several_members_serve_several_waiters() {
    compare(|stage| {
        let mut waiters: Vec<_> = (0..6)
            .map(|number| {
                stage.waiter(match number % 3 {
                    0 => "BZPOPMIN k 0",
                    1 => "BZPOPMAX nope k 0",
                    _ => "BZMPOP 0 1 k MIN",
                })
            })
            .collect();
        stage.run("ZADD k 1 a 2 b 3 c 4 d");
        for waiter in &mut waiters[..4] {
            stage.read("served", waiter);
        }
        stage.run("EXISTS k");
        stage.run("ZADD k 1 a 2 b 3 c 4 d");
        for waiter in &mut waiters[4..] {
            stage.read("served", waiter);
        }
        stage.run("ZRANGE k 0 -1");
    });
}

#[test]
fn other_types_are_waited_out() {
    compare(|stage| {
        let mut waiter = stage.waiter("BLPOP k other 0");
        let mut mover = stage.waiter("BLMOVE k wrong LEFT LEFT 0");
        stage.run("SET k v");
        stage.run("HSET other f v");
        stage.run("DEL k other");
        stage.run("SET k v");
        stage.run("RPUSH other 1");
        stage.read("waiter", &mut waiter);
        stage.run("SET wrong v");
        stage.run("DEL k");
        stage.run("RPUSH k 2");
        stage.read("mover", &mut mover);
        stage.run("LRANGE k 0 -1");
    });
}

#[test]
fn clients_are_unblocked() {
    compare(|stage| {
        for (line, how) in [
            ("BLPOP k 0", ""),
            ("BLPOP k 100", "TIMEOUT"),
            ("BLMOVE k l LEFT LEFT 0", "timeout"),
            ("BLMPOP 0 1 k LEFT", "ERROR"),
            ("BZPOPMIN k 0", "TIMEOUT"),
            ("BZMPOP 0 1 k MIN", "ERROR"),
        ] {
            let mut waiter = stage.server.connect_as(stage.protocol);
            let id = waiter.run("CLIENT ID").integer().expect("an id");
            stage.run("CLIENT UNBLOCK 0");
            send(&mut waiter, line);
            wait_until("it waits", || stage.blocked() == 1);
            let listed = stage.control.run(&format!("CLIENT LIST ID {id}")).text();
            assert!(listed.contains(" flags=b "), "{listed}");
            let reply = stage.control.run(&format!("CLIENT UNBLOCK {id} {how}"));
            stage.transcript.push(reply.to_string());
            stage.read(line, &mut waiter);
            let reply = stage.control.run(&format!("CLIENT UNBLOCK {id}"));
            stage.transcript.push(reply.to_string());
            stage.run("RPUSH k 1");
            stage.run("LPOP k");
            let reply = waiter.run("PING");
            stage.transcript.push(reply.to_string());
        }
    });
}

#[test]
fn what_a_client_leaves_is_for_the_next() {
    compare(|stage| {
        let mut killed = stage.server.connect_as(stage.protocol);
        let id = killed.run("CLIENT ID").integer().expect("an id");
        send(&mut killed, "BLPOP k 0");
        wait_until("it waits", || stage.blocked() == 1);
        let disconnected = stage.waiter("BLPOP k 0");
        let mut next = stage.waiter("BLPOP k 0");
        let reply = stage.control.run(&format!("CLIENT KILL ID {id}"));
        stage.transcript.push(reply.to_string());
        drop(disconnected);
        wait_until("both are gone", || stage.blocked() == 1);
        stage.run("RPUSH k 1");
        stage.read("next", &mut next);
        assert!(killed.is_closed());
        stage.run("RPUSH k 2");
        stage.run("LRANGE k 0 -1");
    });
}

#[test]
fn timeouts_end_waiting() {
    compare(|stage| {
        for line in [
            "BLPOP k 0.05",
            "BRPOP k l 0.05",
            "BLMOVE k l LEFT LEFT 0.05",
            "BRPOPLPUSH k l 0.05",
            "BLMPOP 0.05 1 k LEFT",
            "BZPOPMIN k 0.05",
            "BZPOPMAX k l 0.05",
            "BZMPOP 0.05 2 k l MAX COUNT 3",
        ] {
            let began = Instant::now();
            let reply = stage.control.run(line);
            assert!(began.elapsed() >= Duration::from_millis(50));
            stage.transcript.push(format!("{line}: {reply}"));
        }
        stage.run("RPUSH k 1");
        stage.run("LLEN k");
    });
}

/// What a client sends while it waits is executed afterwards, in order.
#[test]
fn a_pipeline_goes_on_behind() {
    compare(|stage| {
        let mut waiter = stage.waiter("BLPOP k 0");
        send(&mut waiter, "PING");
        send(&mut waiter, "RPUSH l 1");
        send(&mut waiter, "BLPOP l 0");
        stage.run("EXISTS l");
        stage.run("RPUSH k 1");
        for _ in 0..4 {
            stage.read("pipeline", &mut waiter);
        }
    });
}

#[test]
fn a_thousand_clients_wait_and_are_served_in_order() {
    const CLIENTS: usize = 1000;
    for server in [Server::subject(), Server::oracle()] {
        let mut stage = Stage::new(server, Protocol::Resp2);
        let mut waiters = Vec::new();
        for number in 0..CLIENTS {
            let mut waiter = stage.server.connect_as(Protocol::Resp2);
            send(&mut waiter, "BLPOP k 0");
            waiters.push(waiter);
            // Each is there before the next.
            wait_until("it waits", || stage.blocked() == number + 1);
        }
        let numbers: Vec<String> = (0..CLIENTS).map(|number| number.to_string()).collect();
        let mut command = vec!["RPUSH", "k"];
        command.extend(numbers.iter().map(String::as_str));
        let pushed = stage.control.call(&command);
        assert_eq!(pushed.integer(), Some(CLIENTS as i64));
        for (number, waiter) in waiters.iter_mut().enumerate() {
            let items: Vec<String> = waiter.read().items().iter().map(Reply::text).collect();
            assert_eq!(items, ["k".to_owned(), number.to_string()]);
        }
        assert_eq!(stage.control.run("EXISTS k").integer(), Some(0));
        wait_until("nobody waits", || stage.blocked() == 0);
    }
}
