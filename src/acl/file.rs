//! The text of a file of users (`aclfile`): a line for each, `user NAME RULE…`.

use std::collections::BTreeMap;

use super::rule_error::RuleError;
use super::split::{has_spaces, merge_selectors};
use super::user::User;

/// Users by their names.
pub type Users = BTreeMap<Vec<u8>, User>;

/// The text for these users.
pub fn text<'u>(users: impl Iterator<Item = (&'u [u8], &'u User)>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, user) in users {
        text.extend_from_slice(&user.line(name));
        text.push(b'\n');
    }
    text
}

/// Reads a text; `path` is for messages, and `all_channels` what new users begin with.
///
/// # Errors
/// It is no such text: what is wrong with each line, without passwords.
pub fn parse(path: &str, text: &[u8], all_channels: bool) -> Result<Users, String> {
    let mut users = Users::new();
    let mut errors = String::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let place = format!("{path}:{}", index + 1);
        add(&mut users, line, &place, all_channels, &mut errors);
    }
    if errors.is_empty() {
        Ok(users)
    } else {
        Err(errors)
    }
}

/// Adds the user that a line describes, or what is wrong with it.
fn add(users: &mut Users, line: &[u8], place: &str, all_channels: bool, errors: &mut String) {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [b"user", name, rules @ ..] = words.as_slice() else {
        *errors += &format!("{place} should start with user keyword followed by the username. ");
        return;
    };
    let shown = String::from_utf8_lossy(name);
    if has_spaces(name) {
        *errors += &format!("'{place}: username '{shown}' contains invalid characters. ");
        return;
    }
    if users.contains_key(*name) {
        let line = place.rsplit(':').next().unwrap_or_default();
        *errors += &format!("WARNING: Duplicate user '{shown}' found on line {line}. ");
        return;
    }
    let mut user = User::new(all_channels);
    match merge_selectors(rules) {
        Ok(rules) => apply_all(&mut user, &rules, place, all_channels, errors),
        Err(_) => *errors += &format!("{place}: Unmatched parenthesis in selector definition. "),
    }
    users.insert(name.to_vec(), user);
}

/// Applies all rules of a line. Names of commands are told, which are no secret; of what else is wrong, the first.
fn apply_all(
    user: &mut User,
    rules: &[Vec<u8>],
    place: &str,
    all_channels: bool,
    errors: &mut String,
) {
    let mut has_failed = false;
    for rule in rules {
        let rule = rule.trim_ascii();
        match user.apply(rule, all_channels) {
            Ok(()) => {}
            Err(error @ RuleError::Unknown) => {
                let rule = String::from_utf8_lossy(rule);
                *errors += &format!("{place}: Error in applying operation '{rule}': {error}. ");
            }
            Err(error) if !has_failed => {
                has_failed = true;
                *errors += &format!("{place}: {error}. ");
            }
            Err(_) => {}
        }
    }
}
