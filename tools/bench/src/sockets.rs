//! What the kernel counts for TCP connections, as `ss` of iproute2 shows it.

use std::process::{Command, Stdio};

/// What went over connections, in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Without headers.
    pub bytes: u64,
    /// TCP segments.
    pub packets: u64,
}

impl Traffic {
    /// What went over them since; connections that were closed in between are left out.
    pub fn since(self, earlier: Traffic) -> Traffic {
        Traffic {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            packets: self.packets.saturating_sub(earlier.packets),
        }
    }

    /// Bytes with the headers of IPv4 (20) and TCP with its time stamps (32).
    pub fn wire_bytes(self) -> u64 {
        self.bytes + 52 * self.packets
    }
}

/// Traffic of the open connections that these processes dialled: those they have not accepted at
/// one of the ports. `None` without `ss`.
pub fn dialled_traffic(pids: &[u32], listening: &[u16]) -> Option<Traffic> {
    let output = Command::new("ss")
        .args(["-tinpHO", "state", "established"])
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(sum(
        &String::from_utf8_lossy(&output.stdout),
        pids,
        listening,
    ))
}

fn sum(text: &str, pids: &[u32], listening: &[u16]) -> Traffic {
    let mut total = Traffic::default();
    // With the internal ports of cluster nodes, which are 10000 higher.
    let is_accepted = |port: u16| {
        let at = |at: &u16| port == *at || Some(port) == at.checked_add(10_000);
        listening.iter().any(at)
    };
    for line in text.lines() {
        let owned = pids.iter().any(|pid| line.contains(&format!("pid={pid},")));
        if !owned || local_port(line).is_none_or(is_accepted) {
            continue;
        }
        total.bytes += field(line, "bytes_sent:") + field(line, "bytes_received:");
        total.packets += field(line, "segs_out:") + field(line, "segs_in:");
    }
    total
}

/// The line begins with two queue lengths, the local address and that of the peer.
fn local_port(line: &str) -> Option<u16> {
    let address = line.split_whitespace().nth(2)?;
    address.rsplit_once(':')?.1.parse().ok()
}

fn field(line: &str, name: &str) -> u64 {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_connection_is_counted_once_by_the_one_who_dialled() {
        let text = "\
0 0 127.0.0.1:7001 127.0.0.1:40000 users:((\"a\",pid=12,fd=3)) ts bytes_sent:5 bytes_received:1000 segs_out:1 segs_in:9
0 0 127.0.0.1:40000 127.0.0.1:7001 users:((\"b\",pid=34,fd=3)) ts bytes_sent:1000 bytes_received:5 segs_out:9 segs_in:1
0 0 127.0.0.1:17001 127.0.0.1:40001 users:((\"a\",pid=12,fd=4)) ts bytes_sent:7 bytes_received:7 segs_out:1 segs_in:1
0 0 127.0.0.1:40002 127.0.0.1:7001 users:((\"c\",pid=345,fd=3)) ts bytes_sent:9 bytes_received:9 segs_out:1 segs_in:1
";
        let found = sum(text, &[12, 34], &[7001]);
        let expected = Traffic {
            bytes: 1005,
            packets: 10,
        };
        assert_eq!(found, expected);
        assert_eq!(found.wire_bytes(), 1005 + 520);
    }

    #[test]
    fn a_real_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut dialled = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let pids = [std::process::id()];
        let Some(before) = dialled_traffic(&pids, &[port]) else {
            return eprintln!("there is no ss on this machine");
        };
        dialled.write_all(&[1; 1000]).unwrap();
        accepted.read_exact(&mut [0; 1000]).unwrap();
        let after = dialled_traffic(&pids, &[port]).unwrap();
        assert!(after.since(before).bytes >= 1000, "{after:?}");
    }
}
