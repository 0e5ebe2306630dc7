//! A full disk: writes are refused, reads go on, and writes resume when there is room.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::{Options, Program, Server, wait_until};

/// Where the disk's limit comes from.
enum Disk {
    /// A small file system that only the server's process sees; a file in it takes half of the room.
    Mounted { namespace: &'static [&'static str] },
    /// A limit on the size of every file, where the system allows no mounts.
    FileSizeLimit,
}

const MOUNT: &str = r#"mount -t tmpfs -o size=48m none "$DATA" && head -c 24m /dev/zero > "$DATA/ballast" && exec "$@""#;
const LIMIT: &str = r#"trap "" XFSZ; exec prlimit --fsize=1000000:unlimited "$@""#;

impl Disk {
    fn find() -> Self {
        for namespace in [&["unshare", "-m"][..], &["unshare", "-rm"][..]] {
            let tried = Command::new(namespace[0])
                .args(&namespace[1..])
                .args(["mount", "-t", "tmpfs", "none", "/mnt"])
                .stderr(Stdio::null())
                .status();
            if tried.is_ok_and(|status| status.success()) {
                return Self::Mounted { namespace };
            }
        }
        eprintln!(
            "NOTE: no mount is allowed here, so the disk's end is played by a limit on file sizes"
        );
        Self::FileSizeLimit
    }

    fn launcher(&self, data: &str) -> Vec<String> {
        let set_data = format!("DATA={data}");
        let words: Vec<&str> = match self {
            Self::Mounted { namespace } => {
                let env = ["env", &set_data, "sh", "-c", MOUNT, "sh"];
                namespace.iter().copied().chain(env).collect()
            }
            Self::FileSizeLimit => vec!["sh", "-c", LIMIT, "sh"],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    fn make_room(&self, server: &Server) {
        let pid = server.pid().to_string();
        match self {
            Self::Mounted { .. } => {
                // The server's own view of the file system.
                let root = PathBuf::from("/proc").join(&pid).join("root");
                let dir = server.dir();
                let inside = root.join(dir.strip_prefix("/").expect("an absolute path"));
                fs::remove_file(inside.join("ballast")).expect("the ballast can be removed");
            }
            Self::FileSizeLimit => {
                let status = Command::new("prlimit")
                    .args(["--fsize=unlimited", "--pid", &pid])
                    .status();
                assert!(status.is_ok_and(|status| status.success()), "prlimit");
            }
        }
    }
}

#[test]
fn writes_are_refused_and_resume() {
    refuse_and_resume("os");
    if Program::Subject.is_coterie() {
        refuse_and_resume("everysec");
        refuse_and_resume("always");
    } else {
        eprintln!("only run at durability os: a Redis that syncs stops at a full disk");
    }
}

fn refuse_and_resume(durability: &'static str) {
    let disk = Disk::find();
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(Program::Subject)
        .durability(durability)
        .coterie_flag("log-segment-size", "1mb")
        .coterie_flag("checkpoint-log-size", "0")
        .dir(temporary.path());
    options.launcher = disk.launcher(&temporary.path().to_string_lossy());
    let server = Server::start(options);
    let mut client = server.connect();
    let value = "x".repeat(100_000);

    // One key, so that only the log grows.
    let mut written = 0;
    let refusal = loop {
        let reply = client.call(&["SET", "big", &value]);
        if !reply.is_ok() {
            break reply;
        }
        written += 1;
        assert!(written < 1000, "100 MB were written to a disk of 48 MB");
    };
    println!("durability {durability}: {written} writes of 100 kB, then {refusal}");
    assert!(refusal.is_error("MISCONF"), "{refusal}");
    assert!(written > 0, "not one write had room");

    // The rest of the room takes smaller writes.
    for size in [1000, 1] {
        let value = &value[..size];
        let refused = (0..20_000).any(|_| client.call(&["SET", "s", value]).is_error("MISCONF"));
        assert!(
            refused,
            "a full disk takes ever more writes of {size} bytes"
        );
    }
    let refused = (0..20_000).any(|_| client.call(&["INCR", "n"]).is_error("MISCONF"));
    assert!(refused, "a full disk takes ever more counts");
    for line in [
        "SET small:longer-name v",
        "INCR n:longer-name",
        "APPEND big xxxxxxxxxxxxxxxxxxxxxxxx",
    ] {
        let reply = client.run(line);
        assert!(reply.is_error("MISCONF"), "{line} on a full disk: {reply}");
    }
    assert_eq!(
        client.run("STRLEN big").integer(),
        Some(100_000),
        "reads go on"
    );
    assert_eq!(
        client
            .run("EXISTS small:longer-name n:longer-name")
            .integer(),
        Some(0),
        "a refused write has no effect"
    );
    assert_eq!(client.run("ECHO hello").text(), "hello");
    assert_eq!(
        server.connect().run("STRLEN big").integer(),
        Some(100_000),
        "also for new clients"
    );

    disk.make_room(&server);
    wait_until("writes resume", || {
        client.run("SET small:longer-name v").is_ok()
    });
    assert_eq!(client.run("INCR n:longer-name").integer(), Some(1));
    assert_eq!(client.run("GET small:longer-name").text(), "v");
    for _ in 0..20 {
        assert!(client.call(&["SET", "big", &value]).is_ok());
    }
}
