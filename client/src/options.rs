//! What a client is started with.

use std::time::Duration;

use coterie_protocol::internal::{Secret, frame};

/// Settings of a [`Client`](crate::Client).
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) seeds: Vec<String>,
    pub(crate) secret: Option<Secret>,
    pub(crate) deadline: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) silence: Duration,
    pub(crate) broken_after: Duration,
    pub(crate) backoff: Duration,
    pub(crate) backoff_limit: Duration,
    /// A connection takes no more while so many bytes wait to be sent.
    pub(crate) output_limit: usize,
    /// The largest body of a frame.
    pub(crate) body_limit: usize,
    /// A batch is sent in calls of about so many bytes.
    pub(crate) call_bytes: usize,
}

impl Options {
    /// The defaults, to connect through any of these internal addresses, `host:port`.
    pub fn new<S: Into<String>>(seeds: impl IntoIterator<Item = S>) -> Options {
        Options {
            seeds: seeds.into_iter().map(Into::into).collect(),
            secret: None,
            deadline: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            ping_interval: Duration::from_millis(100),
            silence: Duration::from_millis(300),
            broken_after: Duration::from_secs(3),
            backoff: Duration::from_millis(10),
            backoff_limit: Duration::from_secs(1),
            output_limit: 16 << 20,
            body_limit: frame::DEFAULT_BODY_LIMIT,
            call_bytes: 1 << 20,
        }
    }

    /// The cluster secret. Without one, only loopback addresses are spoken to.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Options {
        let secret = secret.into();
        self.secret = (!secret.is_empty()).then(|| Secret::new(secret));
        self
    }

    /// How long a command or a batch may take, repetitions included. 5 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Options {
        self.deadline = deadline;
        self
    }

    /// How long dialling a node may take, and the handshake again. 1 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Options {
        self.connect_timeout = timeout;
        self
    }

    /// A node from which nothing was heard for so long is not asked while another replica can be. 300 ms.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Options {
        self.silence = silence;
        self.ping_interval = (silence / 3).max(Duration::from_millis(1));
        self
    }

    /// A connection on which nothing is heard for so long is closed. 3 s.
    #[must_use]
    pub fn broken_after(mut self, time: Duration) -> Options {
        self.broken_after = time;
        self
    }
}
