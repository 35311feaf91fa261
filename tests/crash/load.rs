//! The load: who speaks, who listens, and how to wait until all is heard that must be.
//!
//! Three parties with transactions of all three and one of two of them, and ordinary topics. A fourth has a valid
//! certificate, asks for everything, and must hear nothing of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use quorate_testkit::{BrokerOptions, eventually, manifest};
use quorate_wire::{QoS, Version};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::ear_record::Hears;
use super::ground::{Ground, OpenRoom, Phase, Speech, Voice};
use super::line::{Door, Greeting};
use super::listener::{Listener, Manner, Memory, Wish};
use super::model::{EarId, Model, Owed};
use super::mouth::Mouth;
use super::{rumqttc_v4, rumqttc_v5};
use crate::actors::{Over, place};
use crate::stage::{LIMIT, Stage, publish};

const STRANGER: &str = "mallory";
/// Whose transactions are opened together: of the last, carol is a stranger.
const ROOMS: [&[&str]; 3] = [&["alice", "bob", "carol"], &["alice", "bob", "carol"], &["alice", "bob"]];
/// All that a party may hear but for ordinary topics; and those.
const FILTERS: [&str; 2] = ["tx/+/#", "news/#"];
/// How long what is owed may take; a machine that compiles at the same time is slow.
const PAID_LIMIT: Duration = Duration::from_secs(60);

/// Which program a client is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Make {
    Ours,
    Rumqttc,
}

use Make::{Ours, Rumqttc};
use Version::{V3_1_1, V5};

/// (party, program, version, QoS, whether it races for slots)
const MOUTHS: [(&str, Make, Version, u8, bool); 9] = [
    ("alice", Ours, V5, 1, true),
    ("alice", Ours, V5, 2, true),
    ("alice", Ours, V3_1_1, 2, false),
    ("bob", Ours, V5, 2, true),
    ("bob", Rumqttc, V5, 1, true),
    ("bob", Ours, V3_1_1, 1, false),
    ("carol", Ours, V5, 2, false),
    ("carol", Ours, V3_1_1, 2, false),
    ("carol", Rumqttc, V3_1_1, 1, false),
];

/// (party, program, version, QoS, whether it acknowledges lazily, whether it is away at times)
const EARS: [(&str, Make, Version, u8, bool, bool); 7] = [
    ("alice", Ours, V5, 2, false, false),
    ("alice", Rumqttc, V3_1_1, 1, false, false),
    ("bob", Ours, V5, 1, true, false),
    ("bob", Ours, V3_1_1, 2, false, false),
    ("carol", Rumqttc, V5, 1, false, false),
    ("carol", Ours, V5, 2, true, true),
    ("carol", Ours, V3_1_1, 1, true, true),
];

/// What the stranger asks for, and whether it is granted: of all its transactions there is none.
const STRANGER_WISHES: [(&str, bool); 4] = [("tx/+/#", true), ("#", false), ("news/#", false), ("$share/s/#", false)];

/// What a broker under this load is set to.
pub fn options() -> BrokerOptions {
    BrokerOptions::default().with_access_rule("deny", "both", &["#"], &[STRANGER]).with_open_topics()
}

pub struct Load {
    ground: Arc<Ground>,
    phase: watch::Sender<Phase>,
    tasks: Vec<JoinHandle<()>>,
    /// Those who are away at times.
    wanderers: Vec<(EarId, watch::Sender<bool>)>,
    /// The others are always there.
    always: watch::Sender<bool>,
    replays: usize,
}

impl Load {
    /// Opens transactions, lets everybody subscribe, and then the mouths in, who are quiet at first.
    pub async fn begin(stage: &Stage, rng: &mut StdRng) -> Load {
        let mut load = Load {
            ground: Arc::default(),
            phase: watch::Sender::new(Phase::Quiet),
            tasks: Vec::new(),
            wanderers: Vec::new(),
            always: watch::Sender::new(true),
            replays: 0,
        };
        load.open_rooms(stage).await;
        let mut ready = Vec::new();
        for (at, &(party, make, version, qos, is_lazy, wanders)) in EARS.iter().enumerate() {
            let name = format!("{party}-ear-{at}");
            let ear = load.ground.model().ear(&name, party, Hears::All, qos);
            let filters = FILTERS.map(|filter| (filter.to_owned(), true)).to_vec();
            let presence = if wanders { load.wanderer(ear) } else { load.always.subscribe() };
            ready.push(match make {
                Ours => {
                    let manner = manner(name, version, qos, filters, is_lazy);
                    load.listen(stage, party, ear, manner, presence)
                }
                Rumqttc => load.listen_by_rumqttc(stage, party, ear, name, version),
            });
        }
        ready.extend(load.let_stranger_in(stage));
        load.await_ready(ready).await;
        load.let_mouths_in(stage, rng);
        load
    }

    /// Opens transactions, which are talked in from now on instead of those before.
    pub async fn open_rooms(&self, stage: &Stage) {
        let initiator = stage.client_as("alice", "initiator").await;
        let mut rooms = Vec::new();
        for members in ROOMS {
            let manifest = manifest(members);
            // It is heard at once by those who subscribe to all their transactions.
            let id = self.ground.model().open_room(manifest.tx(), members);
            publish(&initiator, &manifest.topic(), &manifest.value().to_string()).await.expect("created");
            rooms.push(OpenRoom { id, tx: manifest.tx().to_owned(), members: members.to_vec() });
        }
        self.ground.set_rooms(rooms);
    }

    pub fn speak(&self) {
        self.phase.send_replace(Phase::Speak);
    }

    /// Lets those who wander come or go.
    pub fn wander(&self, rng: &mut StdRng) {
        for (ear, presence) in &self.wanderers {
            if rng.gen_ratio(1, 3) {
                let is_here = *presence.borrow();
                self.send_away(*ear, presence, is_here);
            }
        }
    }

    fn send_away(&self, ear: EarId, presence: &watch::Sender<bool>, is_away: bool) {
        self.ground.model().set_away(ear, is_away);
        presence.send_replace(!is_away);
    }

    /// Sends away whoever can be.
    pub fn empty_seats(&self) {
        for (ear, presence) in &self.wanderers {
            self.send_away(*ear, presence, true);
        }
    }

    /// Calls everybody back.
    pub fn fill_seats(&self) {
        for (ear, presence) in &self.wanderers {
            self.send_away(*ear, presence, false);
        }
    }

    /// What is owed to those who are there.
    pub fn owed(&self) -> Owed {
        self.ground.model().owed()
    }

    /// Waits until all of it is paid.
    pub async fn paid(&self, owed: &Owed) -> anyhow::Result<()> {
        self.wait_for(|model| model.unpaid(owed).map_or(Ok(()), |unpaid| Err(anyhow!(unpaid)))).await
    }

    /// What of it is not paid within this time, whatever other promises are broken.
    pub async fn lost(&self, owed: &Owed, limit: Duration) -> Option<String> {
        let all_paid = || async { self.ground.model().unpaid(owed).map_or(Ok(()), |unpaid| Err(anyhow!(unpaid))) };
        eventually(limit, all_paid).await.err().map(|error| format!("{error:#}"))
    }

    /// Waits for what `is_so` says; a broken promise ends the wait at once.
    async fn wait_for(&self, is_so: impl Fn(&Model) -> anyhow::Result<()>) -> anyhow::Result<()> {
        eventually(PAID_LIMIT, || async {
            let model = self.ground.model();
            if model.faults().is_some() { Ok(()) } else { is_so(&model) }
        })
        .await?;
        self.check()
    }

    /// No promise was broken up to now.
    pub fn check(&self) -> anyhow::Result<()> {
        let faults = self.ground.model().faults();
        faults.map_or(Ok(()), |faults| Err(anyhow!("broken promises:\n{faults}")))
    }

    /// Stops the talk and waits until everything was answered, everybody is back, and all that is due was heard; then every
    /// party hears the transactions of now once more, from their beginning.
    pub async fn rest(&mut self, stage: &Stage) -> anyhow::Result<()> {
        self.quiet().await?;
        self.fill_seats();
        let owed = self.owed();
        self.paid(&owed).await?;
        self.replay(stage).await?;
        self.ground.model().judge_at_rest();
        self.check()
    }

    /// Stops the talk and waits until everything was answered.
    pub async fn quiet(&self) -> anyhow::Result<()> {
        self.phase.send_replace(Phase::Quiet);
        self.wait_for(|model| match model.unanswered() {
            0 => Ok(()),
            some => Err(anyhow!("{some} publishes have no answer")),
        })
        .await
    }

    /// New sessions hear all that was said in the transactions of now.
    async fn replay(&mut self, stage: &Stage) -> anyhow::Result<()> {
        self.replays += 1;
        let mut ears = Vec::new();
        for (party, version, qos) in [("alice", V5, 1), ("bob", V3_1_1, 1), ("carol", V5, 2)] {
            let rooms: Vec<OpenRoom> =
                self.ground.rooms().into_iter().filter(|room| room.members.contains(&party)).collect();
            let hears = Hears::Rooms(rooms.iter().map(|room| room.id).collect());
            let filters = rooms.iter().map(|room| (format!("tx/{}/#", room.tx), true)).collect();
            let name = format!("{party}-replay-{}", self.replays);
            let ear = self.ground.model().ear(&name, party, hears, qos);
            let presence = watch::Sender::new(true);
            let manner = manner(name, version, qos, filters, false);
            // Ready or not, it has heard all once it has heard all.
            let (listener, _) = self.listener(stage, party, ear, manner, presence.subscribe());
            ears.push((ear, presence, tokio::spawn(listener.run())));
        }
        let owed = self.owed();
        self.paid(&owed).await?;
        for (ear, presence, listening) in ears {
            drop(presence);
            listening.await.context("a replay")?;
            self.ground.model().retire(ear);
        }
        Ok(())
    }

    pub fn summary(&self) -> String {
        self.ground.model().summary()
    }

    pub fn taken_count(&self) -> usize {
        self.ground.model().taken_count()
    }

    fn wanderer(&mut self, ear: EarId) -> watch::Receiver<bool> {
        let (presence, heard) = watch::channel(true);
        self.wanderers.push((ear, presence));
        heard
    }

    fn listen(
        &mut self,
        stage: &Stage,
        party: &str,
        ear: EarId,
        manner: Manner,
        presence: watch::Receiver<bool>,
    ) -> oneshot::Receiver<()> {
        let (listener, is_ready) = self.listener(stage, party, ear, manner, presence);
        self.tasks.push(tokio::spawn(listener.run()));
        is_ready
    }

    fn listener(
        &self,
        stage: &Stage,
        party: &str,
        ear: EarId,
        manner: Manner,
        presence: watch::Receiver<bool>,
    ) -> (Listener, oneshot::Receiver<()>) {
        let (ready, is_ready) = oneshot::channel();
        let listener = Listener {
            ground: Arc::clone(&self.ground),
            ear,
            door: door(stage, party),
            manner,
            presence,
            ready: Some(ready),
            memory: Memory::default(),
        };
        (listener, is_ready)
    }

    fn listen_by_rumqttc(
        &mut self,
        stage: &Stage,
        party: &str,
        ear: EarId,
        name: String,
        version: Version,
    ) -> oneshot::Receiver<()> {
        let (ready, is_ready) = oneshot::channel();
        let (ground, place) = (Arc::clone(&self.ground), place(stage, Over::Tcp, party));
        let filters = FILTERS.map(str::to_owned).to_vec();
        self.tasks.push(match version {
            V5 => tokio::spawn(rumqttc_v5::listen(ground, ear, name, place, filters, ready)),
            _ => tokio::spawn(rumqttc_v4::listen(ground, ear, name, place, filters, ready)),
        });
        is_ready
    }

    fn let_stranger_in(&mut self, stage: &Stage) -> Vec<oneshot::Receiver<()>> {
        let mut wishes = STRANGER_WISHES.map(|(filter, is_granted)| (filter.to_owned(), is_granted)).to_vec();
        wishes.extend(self.ground.rooms().iter().map(|room| (format!("tx/{}/#", room.tx), false)));
        let mut ready = Vec::new();
        for version in [V5, V3_1_1] {
            let name = format!("{STRANGER}-{version:?}");
            let ear = self.ground.model().ear(&name, STRANGER, Hears::Nothing, 2);
            let manner = Manner { insists: true, ..manner(name, version, 2, wishes.clone(), false) };
            let presence = self.always.subscribe();
            ready.push(self.listen(stage, STRANGER, ear, manner, presence));
        }
        ready
    }

    fn let_mouths_in(&mut self, stage: &Stage, rng: &mut StdRng) {
        for (at, &(party, make, version, qos, races)) in MOUTHS.iter().enumerate() {
            let voice = Voice { name: format!("{party}-{at}"), party, qos, races };
            let speech = Speech::new(Arc::clone(&self.ground), voice, StdRng::seed_from_u64(rng.r#gen()));
            let phase = self.phase.subscribe();
            self.tasks.push(match (make, version) {
                (Ours, _) => tokio::spawn(Mouth::new(speech, door(stage, party), version, phase).run()),
                (Rumqttc, V5) => tokio::spawn(rumqttc_v5::speak(speech, place(stage, Over::Tcp, party), phase)),
                (Rumqttc, _) => tokio::spawn(rumqttc_v4::speak(speech, place(stage, Over::Tcp, party), phase)),
            });
        }
    }

    async fn await_ready(&self, ready: Vec<oneshot::Receiver<()>>) {
        for ready in ready {
            tokio::time::timeout(LIMIT, ready).await.expect("a SUBACK in time").expect("a listener that runs");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn door(stage: &Stage, party: &str) -> Door {
    Door::new(stage.broker().address(), &stage.certificates(&[party]), party)
}

fn manner(client_id: String, version: Version, qos: u8, filters: Vec<(String, bool)>, is_lazy: bool) -> Manner {
    Manner {
        greeting: Greeting { client_id, version, clean_start: false, receive_maximum: 32 },
        qos: if qos == 2 { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
        wishes: filters.into_iter().map(|(filter, is_granted)| Wish { filter, is_granted }).collect(),
        insists: false,
        is_lazy,
    }
}
