//! Whatever is lost, late or repeated: what all sidecars believe they may spend never sums above the limit, and nothing
//! is lost for good while everybody is there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::mpsc;

use self::book::Book;
use crate::clock::{Clock, ManualClock};
use crate::control::feed::assertion_keys::Desk;
use crate::control::feed::delivery::{Delivery, Room, opening};
use crate::control::feed::hub::{Command, Hub, Stream};
use crate::control::feed::lines::Outbox;
use crate::control::feed::shares::Shares;
use crate::control::feed::source::FeedStore;
use crate::control::feed::{AssertionKeys, Certifier, FeedLimits};
use crate::domain::{BootTime, GrantId, Moment, WallTime};
use crate::wire::feed::{AuditPosition, FromControl, FromSidecar, Subscribe};

mod book;

const SIDECARS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A new stream; what the old one had under way towards control may still arrive.
    Connect {
        sidecar: usize,
        resume: bool,
    },
    /// The sidecar's end is gone; control does not know.
    Lose {
        sidecar: usize,
    },
    Spend {
        sidecar: usize,
    },
    Ask {
        sidecar: usize,
    },
    /// Control does its next task for the stream: a command, or what was committed.
    Tell {
        sidecar: usize,
    },
    /// The sidecar reads a chunk.
    Hear {
        sidecar: usize,
    },
    /// Control reads a line.
    Obey {
        sidecar: usize,
    },
    /// Control reads a line of a stream that is no more.
    Late,
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let sidecar = 0..SIDECARS;
    prop_oneof![
        1 => (sidecar.clone(), any::<bool>()).prop_map(|(sidecar, resume)| Step::Connect { sidecar, resume }),
        1 => sidecar.clone().prop_map(|sidecar| Step::Lose { sidecar }),
        6 => sidecar.clone().prop_map(|sidecar| Step::Spend { sidecar }),
        6 => sidecar.clone().prop_map(|sidecar| Step::Ask { sidecar }),
        10 => sidecar.clone().prop_map(|sidecar| Step::Tell { sidecar }),
        10 => sidecar.clone().prop_map(|sidecar| Step::Hear { sidecar }),
        10 => sidecar.prop_map(|sidecar| Step::Obey { sidecar }),
        3 => Just(Step::Late),
        2 => Just(Step::Wait),
    ]
}

/// One side of a stream at control, with what is under way on it.
struct Link {
    stream: Arc<Stream>,
    commands: mpsc::Receiver<Command>,
    delivery: Delivery<Book>,
    chunks: mpsc::Receiver<Bytes>,
    said: VecDeque<FromSidecar>,
}

#[derive(Default)]
struct Sidecar {
    /// What it believes it may spend in all.
    limit: u32,
    spent: u32,
    last_revision: u64,
    link: Option<Link>,
}

impl Sidecar {
    fn say(&mut self, line: FromSidecar) {
        if let Some(link) = &mut self.link {
            link.said.push_back(line);
        }
    }

    fn hear(&mut self, line: FromControl, grant: &GrantId) {
        self.last_revision = self.last_revision.max(line.revision().unwrap_or(0));
        match line {
            FromControl::Share { allotted, .. } => self.limit = allotted,
            FromControl::ShareRecall { keep, .. } => {
                self.limit = self.limit.min(self.spent.max(keep));
                self.say(FromSidecar::ShareReturned { grant: grant.clone(), allotted: self.limit });
            }
            _ => {}
        }
    }
}

struct World {
    room: Arc<Room<Book>>,
    clock: Arc<ManualClock>,
    grant: GrantId,
    max_uses: u32,
    sidecars: Vec<Sidecar>,
    late: VecDeque<(Arc<Stream>, VecDeque<FromSidecar>)>,
}

impl World {
    fn new(max_uses: u32) -> Self {
        let clock = ManualClock::starting_at(Moment { boot: BootTime::ZERO, wall: WallTime::EPOCH });
        let hub = Hub::new(Clock::Manual(Arc::clone(&clock)), FeedLimits::default());
        let grant = GrantId::from_random(1);
        let store = Arc::new(Book::new(grant.clone(), max_uses));
        let shares = Shares::new(Arc::clone(&store), Arc::clone(&hub));
        let keys = Arc::new(Vec::new());
        let certifier: Certifier = Arc::new(|_| Box::pin(async { Ok(Default::default()) }));
        let desk = Desk::new(AssertionKeys { certifier, validity: Duration::ZERO }, hub.clock().clone());
        let room = Arc::new(Room { hub, store, shares, keys: Arc::new(move || Arc::clone(&keys)), desk });
        let sidecars = (0..SIDECARS).map(|_| Sidecar::default()).collect();
        Self { room, clock, grant, max_uses, sidecars, late: VecDeque::new() }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Connect { sidecar, resume } => self.connect(sidecar, resume).await,
            Step::Lose { sidecar } => self.lose(sidecar),
            Step::Spend { sidecar } => self.spend(sidecar),
            Step::Ask { sidecar } => self.sidecars[sidecar].say(FromSidecar::ShareWanted { grant: self.grant.clone() }),
            Step::Tell { sidecar } => self.tell(sidecar).await,
            Step::Hear { sidecar } => self.hear(sidecar),
            Step::Obey { sidecar } => self.obey(sidecar).await,
            Step::Late => self.hear_late().await,
            Step::Wait => self.clock.advance(Duration::from_secs(3)),
        }
    }

    async fn connect(&mut self, at: usize, resume: bool) {
        self.lose(at);
        let sidecar = &self.sidecars[at];
        let epoch = self.room.store.epoch().to_owned();
        let subscribe = Subscribe {
            service: "payments".parse().unwrap(),
            instance: format!("sidecar-{at}").parse().unwrap(),
            version: String::new(),
            service_digest: String::new(),
            epoch: resume.then_some(epoch),
            last_revision: resume.then_some(sidecar.last_revision),
            lineage: format!("lineage-{at}"),
            spent: [(self.grant.clone(), sidecar.spent)].into(),
            audit: AuditPosition::default(),
        };
        let (stream, commands) = self.room.shares.admit(&subscribe).await.unwrap();
        self.room.store.record_spent(&self.grant, &stream.holder, sidecar.spent).await.unwrap();
        let opening = opening(&self.room, &subscribe).await.unwrap();
        let (out, chunks) = Outbox::new(10_000, 1, Duration::from_secs(1));
        let stream = Arc::new(stream);
        let mut delivery = Delivery::new(Arc::clone(&self.room), Arc::clone(&stream), out, &opening);
        delivery.open(opening).await.unwrap();
        self.sidecars[at].link = Some(Link { stream, commands, delivery, chunks, said: VecDeque::new() });
    }

    fn lose(&mut self, at: usize) {
        if let Some(link) = self.sidecars[at].link.take() {
            self.late.push_back((link.stream, link.said));
        }
    }

    fn spend(&mut self, at: usize) {
        let sidecar = &mut self.sidecars[at];
        if sidecar.spent < sidecar.limit {
            sidecar.spent += 1;
            let spent = sidecar.spent;
            sidecar.say(FromSidecar::Spent { grant: self.grant.clone(), spent });
        }
    }

    async fn tell(&mut self, at: usize) {
        let Some(link) = &mut self.sidecars[at].link else { return };
        match link.commands.try_recv() {
            Ok(Command::Recall { grant, keep }) => link.delivery.recall(grant, keep).await.unwrap(),
            Ok(Command::Restate { grant, allotted }) => link.delivery.restate(grant, allotted).await.unwrap(),
            Err(_) => {
                let began = self.room.hub.clock().now();
                let revision = self.room.store.newest_revision().await.unwrap();
                let reading = crate::control::feed::freshness::Reading { revision, began };
                link.delivery.catch_up(reading).await.unwrap();
            }
        }
    }

    fn hear(&mut self, at: usize) {
        let sidecar = &mut self.sidecars[at];
        let Some(chunk) = sidecar.link.as_mut().and_then(|link| link.chunks.try_recv().ok()) else { return };
        for line in chunk.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            sidecar.hear(serde_json::from_slice(line).unwrap(), &self.grant);
        }
    }

    fn hear_all(&mut self, at: usize) {
        for _ in 0..100 {
            self.hear(at);
        }
    }

    async fn obey(&mut self, at: usize) {
        let Some(link) = &mut self.sidecars[at].link else { return };
        let Some(line) = link.said.pop_front() else { return };
        heard(&self.room, &link.stream, line).await;
    }

    async fn hear_late(&mut self) {
        let Some((stream, mut said)) = self.late.pop_front() else { return };
        if let Some(line) = said.pop_front() {
            heard(&self.room, &stream, line).await;
            self.late.push_back((stream, said));
        }
    }

    fn check(&self) {
        let believed: u32 = self.sidecars.iter().map(|sidecar| sidecar.limit.max(sidecar.spent)).sum();
        assert!(believed <= self.max_uses, "sidecars believe in {believed} of {}", self.max_uses);
        let booked = self.room.store.booked();
        assert!(booked <= self.max_uses, "the book holds {booked} of {}", self.max_uses);
    }

    async fn settle(&mut self) {
        for _ in 0..30 {
            for at in 0..SIDECARS {
                self.tell(at).await;
                self.hear(at);
                self.obey(at).await;
                self.check();
            }
        }
    }
}

async fn heard(room: &Room<Book>, stream: &Stream, line: FromSidecar) {
    match line {
        FromSidecar::ShareWanted { grant } => room.shares.wanted(stream, &grant).await.unwrap(),
        FromSidecar::ShareReturned { grant, allotted } => {
            room.shares.returned(stream, &grant, allotted).await.unwrap();
        }
        FromSidecar::Spent { grant, spent } => {
            room.store.record_spent(&grant, &stream.holder, spent).await.unwrap();
        }
        _ => {}
    }
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shares_never_sum_above_the_limit(
        max_uses in 1_u32..12,
        issued_after in 0_usize..30,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        run(async {
            let mut world = World::new(max_uses);
            let mut steps = steps.into_iter();
            for step in steps.by_ref().take(issued_after) {
                world.take(step).await;
            }
            world.room.store.issue();
            for step in steps {
                world.take(step).await;
                world.check();
            }
        });
    }

    #[test]
    fn one_that_asks_gets_all_once_everybody_is_there(
        max_uses in 1_u32..8,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        run(async {
            let mut world = World::new(max_uses);
            world.room.store.issue();
            for step in steps {
                world.take(step).await;
            }
            for at in 0..SIDECARS {
                world.connect(at, at % 2 == 0).await;
            }
            world.settle().await;
            for _ in 0..40 {
                world.take(Step::Wait).await;
                world.take(Step::Ask { sidecar: 0 }).await;
                world.settle().await;
                world.take(Step::Spend { sidecar: 0 }).await;
            }
            let spent: u32 = world.sidecars.iter().map(|sidecar| sidecar.spent).sum();
            assert_eq!(spent, max_uses);
        });
    }
}

/// Two sidecars with four uses each, of which the first has spent its own and asked for more.
async fn one_asks_the_other() -> World {
    let mut world = World::new(8);
    for at in 0..2 {
        world.connect(at, false).await;
    }
    world.room.store.issue();
    world.settle().await;
    assert_eq!((world.sidecars[0].limit, world.sidecars[1].limit), (4, 4));
    for _ in 0..4 {
        world.spend(0);
        world.obey(0).await;
    }
    world.take(Step::Ask { sidecar: 0 }).await;
    world.obey(0).await;
    world
}

#[test]
fn a_share_on_its_way_arrives_before_it_is_asked_back() {
    run(async {
        let mut world = one_asks_the_other().await;
        world.tell(1).await;
        world.hear_all(1);
        world.obey(1).await;
        // The first now holds 6 and has not heard of it, when the second spends what it kept and asks.
        for _ in 0..2 {
            world.spend(1);
            world.obey(1).await;
        }
        world.take(Step::Ask { sidecar: 1 }).await;
        world.obey(1).await;
        world.tell(0).await;
        world.tell(0).await;
        world.hear_all(0);
        world.obey(0).await;
        world.settle().await;
        assert_eq!((world.sidecars[0].limit, world.sidecars[1].limit), (5, 3));
    });
}

#[test]
fn an_answer_on_a_stream_that_is_no_more_moves_nothing() {
    run(async {
        let mut world = one_asks_the_other().await;
        world.tell(1).await;
        world.hear_all(1);
        assert_eq!(world.sidecars[1].limit, 2, "it gave back, and its answer is on the way");
        world.connect(1, true).await;
        world.hear_all(1);
        assert_eq!(world.sidecars[1].limit, 4, "the new stream says what it holds");
        world.hear_late().await;
        world.settle().await;
        assert_eq!((world.sidecars[0].limit, world.sidecars[1].limit), (4, 4));
    });
}
