//! SIGKILL while libraries of functions are loaded: what was answered is there after the restart.

use std::thread;
use std::time::Duration;

use rand::RngExt;

use crate::common::{Connection, Options, Program, Reply, Server};

const KILLS: u32 = 8;
const LIBRARIES: usize = 3;

/// The numbers that the functions of the libraries answer with; 0 where there is none.
type Answers = [i64; LIBRARIES];

/// Loads one library after another, the function of each answering with a larger number, until the server is gone.
/// Returns the last number that was under way.
fn load_until_killed(mut client: Connection, acknowledged: &mut Answers) -> i64 {
    let mut number = acknowledged.iter().copied().max().unwrap_or(0);
    loop {
        number += 1;
        let library = number as usize % LIBRARIES;
        let code = format!(
            "#!lua name=l{library}\nredis.register_function('f{library}', function() return {number} end)"
        );
        match client.try_call(&["FUNCTION", "LOAD", "REPLACE", &code]) {
            Ok(Reply::Error(text)) => panic!("{text:?}"),
            Ok(_) => acknowledged[library] = number,
            Err(_) => return number,
        }
    }
}

#[test]
fn loaded_libraries_survive_kills() {
    let options = Options::new(Program::Subject).durability("everysec");
    let mut server = Server::start(options);
    let mut answers = Answers::default();
    for _ in 0..KILLS {
        let client = server.connect();
        let loading = thread::spawn(move || {
            let mut acknowledged = answers;
            let under_way = load_until_killed(client, &mut acknowledged);
            (acknowledged, under_way)
        });
        thread::sleep(Duration::from_millis(rand::rng().random_range(5..150)));
        server.kill();
        let (acknowledged, under_way) = loading.join().expect("who loads");
        server.restart();
        let mut client = server.connect();
        for (library, expected) in acknowledged.into_iter().enumerate() {
            let reply = client.run(&format!("FCALL f{library} 0"));
            let answer = reply.integer().unwrap_or(0);
            let is_under_way = under_way as usize % LIBRARIES == library && answer == under_way;
            assert!(
                answer == expected || is_under_way,
                "f{library}: {reply} instead of {expected}, or {under_way} that was under way"
            );
            answers[library] = answer;
        }
    }
    assert!(
        answers.iter().all(|answer| *answer > 0),
        "nothing was loaded: {answers:?}"
    );
    // A deletion is kept as well.
    let mut client = server.connect();
    assert!(client.run("FUNCTION DELETE l1").is_ok());
    server.kill();
    server.restart();
    let mut client = server.connect();
    assert!(matches!(client.run("FCALL f1 0"), Reply::Error(_)));
    assert_eq!(client.run("FCALL f2 0"), Reply::Integer(answers[2]));
}
