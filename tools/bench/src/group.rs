//! Servers that hold the same data: the nodes of a Coterie cluster, or a Redis master and replicas.

use std::time::{Duration, Instant};

use crate::{
    control::{Control, PATIENCE, POLL},
    error::{Error, Result},
    interrupt,
    proc::threads_cpu,
    server::{Contender, Launcher, Product, Role, Server},
    sockets::{Traffic, dialled_traffic},
    workload::{key_name, value},
};

pub struct Group {
    /// The first is Redis' master.
    servers: Vec<Server>,
}

impl Group {
    /// Starts servers on empty directories, and waits until each has all the others.
    pub fn start(launcher: &Launcher, contender: Contender, count: usize) -> Result<Self> {
        if count == 1 {
            let servers = vec![launcher.start(contender)?];
            return Ok(Self { servers });
        }
        let first = launcher.start_as(contender, Role::First)?;
        let of = first.port();
        let mut servers = vec![first];
        while servers.len() < count {
            servers.push(launcher.start_as(contender, Role::Follower { of })?);
        }
        let group = Self { servers };
        group.wait_until_complete()?;
        Ok(group)
    }

    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub fn server_mut(&mut self, index: usize) -> &mut Server {
        &mut self.servers[index]
    }

    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// Where clients connect: at every node of a cluster, and at Redis' master.
    pub fn entrances(&self) -> Vec<u16> {
        let used = match self.servers[0].product() {
            Product::Coterie => &self.servers[..],
            Product::Redis => &self.servers[..1],
        };
        used.iter().map(Server::port).collect()
    }

    /// Processor time of all servers.
    pub fn cpu(&self) -> Duration {
        self.servers.iter().map(|s| threads_cpu(s.pid())).sum()
    }

    /// What the servers have sent each other over TCP; nothing if that can't be found out.
    pub fn traffic(&self) -> Option<Traffic> {
        let listening: Vec<u16> = self.servers.iter().map(Server::port).collect();
        dialled_traffic(&self.pids(), &listening)
    }

    /// Waits until all servers have all that was written so far, so that work still to be done is
    /// not left out of a measurement.
    pub fn settle(&self, value_len: usize) -> Result<()> {
        let others = self.servers.len() - 1;
        if others == 0 {
            return Ok(());
        }
        for port in self.entrances() {
            let mut control = Control::connect(port)?;
            // Each stream of writes is in order: what comes last is behind all the rest.
            control.status(&[b"SET", &key_name(0), &value(value_len)])?;
            let have = control.integer(&[b"WAIT", others.to_string().as_bytes(), b"60000"])?;
            if usize::try_from(have).is_ok_and(|have| have >= others) {
                continue;
            }
            return Err(Error::WrongReply(format!(
                "{have} of {others} servers have a write after a minute"
            )));
        }
        Ok(())
    }

    /// Waits until each server has all the others.
    pub fn wait_until_complete(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(state) = self.incomplete()? {
            if Instant::now() > deadline {
                return Err(Error::NoGroup {
                    nodes: self.servers.len(),
                    seconds: PATIENCE.as_secs(),
                    state,
                });
            }
            interrupt::check()?;
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// What a server says that has not all the others.
    fn incomplete(&self) -> Result<Option<String>> {
        let count = self.servers.len();
        match self.servers[0].product() {
            Product::Redis => {
                let text = self.servers[0]
                    .control()?
                    .text(&[b"INFO", b"replication"])?;
                let online = text.matches("state=online").count();
                Ok((online + 1 < count).then_some(text))
            }
            Product::Coterie => {
                let known = format!("cluster_known_nodes:{count}");
                let size = format!("cluster_size:{count}");
                let wanted = [
                    &*known,
                    &size,
                    "cluster_state:ok",
                    "cluster_moving_partitions:0",
                    "cluster_nodes_down:0",
                ];
                for server in &self.servers {
                    let text = server.control()?.text(&[b"CLUSTER", b"INFO"])?;
                    let has = |line: &&str| text.lines().any(|it| it == *line);
                    if !wanted.iter().all(has) {
                        return Ok(Some(text));
                    }
                }
                Ok(None)
            }
        }
    }
}
