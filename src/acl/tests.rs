//! What rules mean.

use coterie_protocol::OwnedRequest;
use proptest::prelude::*;

use super::file::parse;
use super::*;
use crate::commands::table;

/// A user to whom these rules are applied.
fn user(rules: &str) -> User {
    let mut user = User::new(false);
    let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    for rule in merge_selectors(&words).expect("closed") {
        user.apply(&rule, false).expect("a rule");
    }
    user
}

fn check(user: &User, request: &str) -> Result<(), Denied> {
    let words: Vec<&str> = request.split(' ').collect();
    let request = OwnedRequest::new(&words);
    let command = table::find(request.request()).expect("a command");
    user.check(command, request.request())
}

fn rules(user: &User) -> String {
    String::from_utf8(user.rules()).expect("text")
}

#[test]
fn a_new_user_may_do_nothing_but_log_in() {
    let user = user("on");
    assert_eq!(check(&user, "PING"), Err(Denied::Command));
    assert_eq!(check(&user, "AUTH x"), Ok(()));
    assert!(!user.accepts(b"") && !user.is_unrestricted());
    assert!(User::everyone().is_unrestricted() && User::everyone().accepts(b"whatever"));
}

#[test]
fn the_last_rule_about_a_command_wins() {
    assert_eq!(
        rules(&user("+@all -@all +get")),
        "off resetchannels -@all +get"
    );
    assert_eq!(rules(&user("+get +@all")), "off resetchannels +@all");
    assert_eq!(rules(&user("+@all -get")), "off resetchannels +@all -get");
}

#[test]
fn keys_are_read_and_written_by_different_rights() {
    let user = user("+@all %R~r* %W~w* ~b*");
    assert_eq!(check(&user, "GET r1"), Ok(()));
    assert_eq!(check(&user, "GET w1"), Err(Denied::Key(1)));
    assert_eq!(check(&user, "SET w1 x"), Ok(()));
    assert_eq!(check(&user, "SET w1 x GET"), Err(Denied::Key(1)));
    assert_eq!(check(&user, "COPY r1 w1"), Ok(()));
    assert_eq!(check(&user, "COPY w1 r1"), Err(Denied::Key(1)));
    // Its existence is no part of a value.
    assert_eq!(check(&user, "EXISTS w1 r1"), Ok(()));
    assert_eq!(check(&user, "EXISTS w1 x"), Err(Denied::Key(2)));
}

#[test]
fn sorting_by_other_keys_takes_the_right_to_read_all() {
    let some = user("+@all ~list");
    assert_eq!(check(&some, "sort list by weight"), Ok(()));
    assert_eq!(check(&some, "sort list by weight:*"), Err(Denied::Key(1)));
    assert_eq!(check(&some, "sort list get *"), Err(Denied::Key(1)));
    assert_eq!(check(&user("+@all ~list %R~*"), "sort list get *"), Ok(()));
    assert_eq!(
        check(&user("+@all ~list %W~*"), "sort list get *"),
        Err(Denied::Key(1))
    );
}

#[test]
fn one_selector_has_to_allow_all_of_a_command() {
    let user = user("+get ~a* (+set ~b*)");
    assert_eq!(check(&user, "GET a"), Ok(()));
    assert_eq!(check(&user, "SET b x"), Ok(()));
    assert_eq!(check(&user, "SET a x"), Err(Denied::Key(1)));
    assert_eq!(check(&user, "DEL a"), Err(Denied::Command));
}

#[test]
fn patterns_are_listened_to_by_their_names() {
    let user = user("+@all &c*");
    assert_eq!(check(&user, "SUBSCRIBE c1 c2"), Ok(()));
    assert_eq!(check(&user, "SUBSCRIBE c1 d"), Err(Denied::Channel(2)));
    assert_eq!(check(&user, "PSUBSCRIBE c*"), Ok(()));
    assert_eq!(check(&user, "PSUBSCRIBE c1"), Err(Denied::Channel(1)));
    assert_eq!(check(&user, "PUBLISH d x"), Err(Denied::Channel(1)));
}

#[test]
fn whoever_is_removed_loses_all_rights_at_once() {
    let acl = Acl::new(b"");
    let account = Arc::new(Account::new(b"alice", user("on nopass +@all ~* &*")));
    acl.accounts().insert(b"alice".to_vec(), account.clone());
    assert!(account.is_unrestricted() && acl.authenticate(b"alice", b"").is_some());
    acl.remove(b"alice");
    assert!(!account.is_unrestricted() && !account.is_open());
    assert!(acl.authenticate(b"alice", b"").is_none());
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let text = b"user alice on nopass ~* +@all\r\n\n  user bob off -@all (+get ~x)  \n";
    let users = parse("users.acl", text, false).expect("users");
    assert_eq!(users.len(), 2);
    assert_eq!(file::text(users.iter().map(|(n, u)| (n.as_slice(), u))),
        b"user alice on nopass ~* resetchannels +@all\nuser bob off resetchannels -@all (~x resetchannels -@all +get)\n");
    for (line, error) in [
        (
            "alice on",
            "users.acl:1 should start with user keyword followed by the username. ",
        ),
        (
            "user",
            "users.acl:1 should start with user keyword followed by the username. ",
        ),
        (
            "user a on\nuser a off",
            "WARNING: Duplicate user 'a' found on line 2. ",
        ),
        (
            "user a\tb on",
            "'users.acl:1: username 'a\tb' contains invalid characters. ",
        ),
        (
            "\nuser a +foo >x #y nonsense",
            "users.acl:2: Error in applying operation '+foo': Unknown command or category name in ACL. \
            users.acl:2: The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters. ",
        ),
        (
            "user a (+get",
            "users.acl:1: Unmatched parenthesis in selector definition. ",
        ),
    ] {
        assert_eq!(
            parse("users.acl", line.as_bytes(), false).unwrap_err(),
            error
        );
    }
}

proptest! {
    /// Whatever the rules are, nothing panics, an error changes nothing, and the rules that describe a user lead to it.
    #[test]
    fn fuzz_rules(rules in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::sample::select(&["+@all", "-@write", "+get", "-get", "+client", "-client|id", "+select|1", "~a", "%R~b", "&c", "(+set ~x)", "allkeys", "on", "nopass", ">x", "reset"][..])
            .prop_map(|rule| rule.as_bytes().to_vec()),
        "[+-]@?[a-z|]{0,8}".prop_map(String::into_bytes),
        "[(%~&][ RW~()\"'a+get]{0,10}[)]?".prop_map(String::into_bytes),
    ], 0..20)) {
        let words: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        let Ok(rules) = merge_selectors(&words) else { return Ok(()) };
        let mut user = User::new(false);
        for rule in rules {
            let before = user.clone();
            if user.apply(&rule, false).is_err() {
                prop_assert_eq!(&user, &before);
            }
        }
        let line = user.line(b"somebody");
        // Quotes, parentheses and spaces in a pattern or argument can't be told from those of selectors, in Redis as here.
        let count = |byte| line.iter().filter(|other| **other == byte).count();
        let is_plain = line.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        let is_plain = is_plain && count(b'"') + count(b'\'') == 0;
        let selectors = user.selectors().len();
        if is_plain && (count(b'('), count(b')')) == (selectors, selectors) {
            let users = parse("text", &line, false).expect("what was written is read");
            prop_assert_eq!(users[b"somebody".as_slice()].line(b"somebody"), line);
        }
    }

    #[test]
    fn fuzz_files(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse("text", &text, true);
    }
}
