//! Faults under load. Each case is a list of steps, with clients writing at every node all the time; after it the
//! cluster is whole again, every acknowledged write is there, replicas agree, and nothing deleted is back.

use std::time::Duration;

use crate::common::{Cluster, Link, Path, Setup, seed};
use crate::workload::{Workload, check};

/// Clients of each node.
const CLIENTS: usize = 2;
/// Successes that show that a client goes on.
const PROGRESS: u64 = 300;

/// What a test does with a running cluster, one after the other.
#[derive(Clone, Debug)]
enum Step {
    Kill(usize),
    Terminate(usize),
    Restart(usize),
    /// The node comes back without its data, and the operator has it take the place of what it was.
    Replace(usize),
    /// SIGSTOP.
    Freeze(usize),
    /// SIGCONT.
    Thaw(usize),
    /// Nothing passes between the groups.
    Cut(Vec<usize>, Vec<usize>),
    /// Packets between the groups fare like this.
    Degrade(Vec<usize>, Vec<usize>, Path),
    /// Nothing passes from the first group to the second; the other direction is unharmed.
    CutOneWay(Vec<usize>, Vec<usize>),
    Heal,
    /// All others take the node for down.
    Down(usize),
    /// One more node.
    Join,
    /// The operator has a node give everything away, removes it, and stops it.
    Drain(usize),
    /// All nodes know each other, and nothing moves.
    Settle,
    /// The clients of these nodes go on.
    Progress(Vec<usize>),
}

use Step::{
    Cut, CutOneWay, Degrade, Down, Drain, Freeze, Heal, Join, Kill, Progress, Replace, Restart,
    Settle, Terminate, Thaw,
};

struct Case {
    setup: Setup,
    steps: Vec<Step>,
    /// Clients of these nodes see no failure at all, but for counters.
    unharmed: Vec<usize>,
    /// The clocks of the nodes are equal.
    clocks_agree: bool,
}

fn case(nodes: usize, link: Link, steps: Vec<Step>) -> Case {
    let mut setup = Setup::new(nodes, link);
    setup.seed = seed();
    Case {
        setup,
        steps,
        unharmed: Vec::new(),
        clocks_agree: true,
    }
}

impl Case {
    fn unharmed(mut self, nodes: &[usize]) -> Self {
        self.unharmed = nodes.to_vec();
        self
    }

    fn node_flag(mut self, node: usize, name: &str, value: &str) -> Self {
        self.setup = self.setup.node_flag(node, name, value);
        self
    }

    fn clocks_differ(mut self) -> Self {
        self.clocks_agree = false;
        self
    }

    fn run(self) {
        let Self {
            setup,
            steps,
            unharmed,
            clocks_agree,
        } = self;
        println!("COTERIE_TEST_SEED={} chooses the same requests", setup.seed);
        let workload = Workload::new(clocks_agree, setup.seed);
        let mut run = Run {
            members: setup.nodes,
            cluster: Cluster::start(setup),
            workload,
        };
        for node in run.cluster.running() {
            run.add_clients(node);
        }
        run.step(Progress(run.cluster.running()));
        for step in steps {
            println!("{step:?}");
            run.step(step);
        }
        run.step(Settle);
        run.step(Progress(run.cluster.running()));
        run.workload.expect_no_failure(&unharmed);
        let mut model = run.workload.finish();
        let cluster = run.cluster;
        cluster.wait_until_replicas_agree(run.members);
        let doors: Vec<_> = cluster
            .running()
            .iter()
            .map(|&node| (node, cluster.door(node)))
            .collect();
        if let Err(wrong) = check(&doors, &mut model) {
            panic!("{wrong}");
        }
        // Reading has repaired nothing for the worse.
        cluster.wait_until_replicas_agree(run.members);
    }
}

struct Run {
    // Before the cluster: its threads use it.
    workload: Workload,
    cluster: Cluster,
    members: usize,
}

impl Run {
    fn add_clients(&mut self, node: usize) {
        for _ in 0..CLIENTS {
            self.workload.add(node, self.cluster.door(node));
        }
    }

    fn step(&mut self, step: Step) {
        let Self {
            cluster, workload, ..
        } = self;
        match step {
            Kill(node) => cluster.kill(node),
            Terminate(node) => cluster.terminate(node),
            Restart(node) => cluster.restart(node),
            Replace(node) => self.replace(node),
            Freeze(node) => cluster.stop(node),
            Thaw(node) => cluster.cont(node),
            Cut(some, others) => cluster.network().set_between(&some, &others, Path::CUT),
            CutOneWay(some, others) => {
                for (&from, &to) in some
                    .iter()
                    .flat_map(|from| others.iter().map(move |to| (from, to)))
                {
                    cluster.network().set(from, to, Path::CUT);
                }
            }
            Down(node) => cluster.wait_until_seen_down(node),
            Degrade(some, others, path) => cluster.network().set_between(&some, &others, path),
            Heal => cluster.network().heal(),
            Join => {
                let node = cluster.add();
                self.members += 1;
                self.add_clients(node);
            }
            Drain(node) => self.drain(node),
            Settle => cluster.wait_until_settled(self.members),
            Progress(nodes) => workload.wait_for_progress(&nodes, PROGRESS),
        }
    }

    fn replace(&mut self, node: usize) {
        let cluster = &mut self.cluster;
        let other = cluster.running().into_iter().find(|&at| at != node);
        let other = other.expect("somebody is left");
        let old = cluster.id_of(node, other);
        cluster.restart_empty(node);
        let new = cluster.node_id(node);
        assert_ne!(old, new, "without its data it is another node");
        cluster.operate(other, &["node", "replace", &old, &new]);
    }

    fn drain(&mut self, node: usize) {
        let cluster = &mut self.cluster;
        let id = cluster.node_id(node);
        let other = cluster.running().into_iter().find(|&at| at != node);
        let other = other.expect("somebody is left");
        cluster.operate(other, &["node", "drain", &id]);
        cluster.operate(other, &["node", "remove", &id]);
        cluster.terminate(node);
        self.members -= 1;
    }
}

/// One test for each case.
macro_rules! cases {
    ($($(#[$attribute:meta])* $name:ident: $case:expr;)*) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() {
                $case.run();
            }
        )*
    };
}

cases! {
    nothing_happens: case(3, Link::Loopback, vec![Progress(vec![0, 1, 2])]).unharmed(&[0, 1, 2]);

    a_killed_node_comes_back: case(3, Link::Loopback, vec![
        Kill(2),
        Progress(vec![0, 1]),
        Down(2),
        Progress(vec![0, 1]),
        Restart(2),
        Progress(vec![0, 1, 2]),
    ])
    .unharmed(&[0, 1]);

    the_first_node_is_killed_and_comes_back: case(3, Link::Loopback, vec![
        Kill(0),
        Progress(vec![1, 2]),
        Restart(0),
        Progress(vec![0, 1, 2]),
    ])
    .unharmed(&[1, 2]);

    every_node_is_killed_in_turn: case(3, Link::Loopback, vec![
        Kill(0), Progress(vec![1, 2]), Restart(0), Settle,
        Kill(1), Progress(vec![0, 2]), Restart(1), Settle,
        Kill(2), Progress(vec![0, 1]), Restart(2), Settle,
    ]);

    all_nodes_are_killed_at_once: case(3, Link::Loopback, vec![
        Kill(0), Kill(1), Kill(2),
        Restart(0), Restart(1), Restart(2),
        Progress(vec![0, 1, 2]),
    ]);

    a_node_is_stopped_and_started_in_order: case(3, Link::Loopback, vec![
        Terminate(1),
        Progress(vec![0, 2]),
        Restart(1),
        Progress(vec![0, 1, 2]),
    ])
    .unharmed(&[0, 2]);

    a_frozen_node_is_bypassed: case(3, Link::Loopback, vec![
        Freeze(2),
        Progress(vec![0, 1]),
        Down(2),
        Progress(vec![0, 1]),
        Thaw(2),
        Progress(vec![0, 1, 2]),
    ])
    .unharmed(&[0, 1]);

    one_node_is_cut_off: case(3, Link::Network, vec![
        Cut(vec![0, 1], vec![2]),
        Progress(vec![0, 1]),
        Down(2),
        Progress(vec![0, 1]),
        Heal,
        Progress(vec![0, 1, 2]),
    ]);

    a_node_hears_but_is_not_heard: case(3, Link::Network, vec![
        CutOneWay(vec![2], vec![0, 1]),
        Progress(vec![0, 1]),
        Heal,
        Progress(vec![0, 1, 2]),
    ]);

    a_node_is_heard_but_does_not_hear: case(3, Link::Network, vec![
        CutOneWay(vec![0, 1], vec![2]),
        Progress(vec![0, 1]),
        Heal,
        Progress(vec![0, 1, 2]),
    ]);

    two_of_three_do_not_hear_each_other_0_1: pair_cut(0, 1);
    two_of_three_do_not_hear_each_other_0_2: pair_cut(0, 2);
    two_of_three_do_not_hear_each_other_1_2: pair_cut(1, 2);

    two_of_five_are_cut_off: case(5, Link::Network, vec![
        Cut(vec![0, 1, 2], vec![3, 4]),
        Progress(vec![0, 1, 2]),
        Heal,
        Progress(vec![0, 1, 2, 3, 4]),
    ]);

    a_path_is_slow_and_lossy: case(3, Link::Network, vec![
        Degrade(vec![0, 1], vec![2], Path {
            delay: Duration::from_millis(40),
            loss: 0.1,
            bytes_per_second: Some(512 << 10),
            ..Path::default()
        }),
        Progress(vec![0, 1]),
        Heal,
        Progress(vec![0, 1, 2]),
    ])
    .unharmed(&[0, 1]);

    a_path_that_comes_and_goes: case(3, Link::Network, vec![
        Cut(vec![0], vec![1]), Progress(vec![2]), Heal, Progress(vec![0, 1, 2]),
        Cut(vec![1], vec![2]), Progress(vec![0]), Heal, Progress(vec![0, 1, 2]),
        Cut(vec![0], vec![2]), Progress(vec![1]), Heal, Progress(vec![0, 1, 2]),
    ]);

    an_empty_node_takes_the_place_of_a_lost_one: case(3, Link::Loopback, vec![
        Kill(1),
        Progress(vec![0, 2]),
        Replace(1),
        Settle,
        Progress(vec![0, 1, 2]),
    ])
    .unharmed(&[0, 2]);

    two_of_five_are_killed: case(5, Link::Loopback, vec![
        Kill(1),
        Kill(3),
            Progress(vec![0, 2, 4]),
        Restart(1),
        Restart(3),
        Progress(vec![0, 1, 2, 3, 4]),
    ]);

    a_fourth_node_joins: case(3, Link::Loopback, vec![
        Join,
        Settle,
        Progress(vec![0, 1, 2, 3]),
    ])
    .unharmed(&[0, 1, 2]);

    one_node_grows_to_three: case(1, Link::Loopback, vec![
        Join,
        Settle,
        Progress(vec![0, 1]),
        Join,
        Settle,
        Progress(vec![0, 1, 2]),
    ])
    .unharmed(&[0]);

    a_node_is_drained: case(4, Link::Loopback, vec![
        Drain(3),
        Settle,
        Progress(vec![0, 1, 2]),
    ])
    .unharmed(&[0, 1, 2]);

    a_node_is_killed_while_another_joins: case(3, Link::Loopback, vec![
        Join,
        Kill(3),
        Progress(vec![0, 1, 2]),
        Restart(3),
        Settle,
        Progress(vec![0, 1, 2, 3]),
    ])
    .unharmed(&[0, 1, 2]);

    a_clock_is_ahead_and_its_node_cut_off: case(3, Link::Network, vec![
        Progress(vec![0, 1, 2]),
        Cut(vec![0, 1], vec![2]),
        Progress(vec![0, 1]),
        Heal,
        Progress(vec![0, 1, 2]),
    ])
    .node_flag(2, "debug-clock-offset-ms", "300")
    .clocks_differ();

    a_clock_is_behind_and_another_node_killed: case(3, Link::Loopback, vec![
        Kill(0),
        Progress(vec![1, 2]),
        Restart(0),
        Progress(vec![0, 1, 2]),
    ])
    .node_flag(2, "debug-clock-offset-ms", "-300")
    .clocks_differ();
}

fn pair_cut(one: usize, other: usize) -> Case {
    let third = 3 - one - other;
    case(
        3,
        Link::Network,
        vec![
            Cut(vec![one], vec![other]),
            Progress(vec![third]),
            Heal,
            Progress(vec![0, 1, 2]),
        ],
    )
}
