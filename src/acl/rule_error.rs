//! What can be wrong with a rule, in Redis' own words.

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RuleError {
    /// A command or category that there is not.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// Nothing that is a rule.
    #[error("Syntax error")]
    Syntax,
    /// A key pattern where every key is allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
         Try 'resetkeys' to start with an empty list of patterns"
    )]
    AllKeys,
    /// A channel pattern where every channel is allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
         Try 'resetchannels' to start with an empty list of channels"
    )]
    AllChannels,
    /// A password to remove that is none.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// A hash that is none.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    Hash,
    /// `+container|subcommand|argument`
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgument,
}
