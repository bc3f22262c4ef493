//! Providers that throttle, fail, hang, charge for nothing and never say the same thing twice, under real campaigns in
//! virtual time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use cpo::{
    agents::{
        generation::{Brief, Writer, composer::Composer},
        safety::{AsRead, HarmScreen, Lexicon, Screened},
    },
    domain::{
        money::Usd,
        variant::{Cell, Draft, Usage, Variant},
        verdict::{Decision, Severities, Severity},
    },
    orchestration::{
        client::View,
        engine::{Clock, Engine},
        finished::Variants,
        host::Host,
        instance::{Instance, Status},
        layout, names,
        plan::Plan,
        record::{self, Outcome},
        stage::Stage,
        start::Start,
        workshop::{Providers, Workshop},
    },
    providers::{ErrorKind, Meter, ProviderError},
    store::{Memory, Store},
};
use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::{
    checker,
    real::{self, Folder, Method},
};

/// What a call can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    Throttled(Option<Duration>),
    /// It fails after it was charged.
    Down,
    /// No answer within the time that an item has; it is charged.
    Hangs,
}

type Forecast = Box<dyn FnMut() -> Weather + Send>;

/// A provider that charges each call that it takes.
struct Provider {
    forecast: Mutex<Forecast>,
    most: Usd,
    journal: Mutex<Vec<Call>>,
}

/// A line of what the provider knows, whether or not anybody heard of it.
#[derive(Debug, Clone)]
struct Call {
    /// A cell's candidate, or a text.
    about: String,
    weather: Weather,
    cost: Usd,
}

fn dollars(dollars: f64) -> Usd {
    Usd::from_dollars(dollars).unwrap()
}

impl Provider {
    fn new(most: Usd, forecast: impl FnMut() -> Weather + Send + 'static) -> Self {
        Self { forecast: Mutex::new(Box::new(forecast)), most, journal: Mutex::default() }
    }

    /// One call: its number from 1 and what it took.
    async fn call(&self, about: String, meter: &Meter) -> Result<(u64, Usage), ProviderError> {
        let reserved = meter.reserve("stormy", self.most)?;
        let weather = (self.forecast.lock().unwrap())();
        let cost = match weather {
            Weather::Throttled(_) => Usd::ZERO,
            Weather::Fine | Weather::Down => dollars(self.most.dollars() / 4.0),
            Weather::Hangs => self.most,
        };
        let number = {
            let mut journal = self.journal.lock().unwrap();
            journal.push(Call { about, weather, cost });
            journal.len() as u64
        };
        let error = |kind| ProviderError { provider: "stormy", kind, message: format!("{weather:?}") };
        tokio::time::sleep(Duration::from_millis(300)).await;
        if weather == Weather::Hangs {
            return std::future::pending().await;
        }
        // The number stands for the tokens, so that an answer can be found in the journal.
        let usage = Usage { requests: 1, input_tokens: number, output_tokens: 0, cost_usd: cost };
        match weather {
            Weather::Throttled(retry_after) => {
                reserved.settle(Usage::default());
                Err(error(ErrorKind::Throttled { retry_after }))
            }
            Weather::Down => {
                reserved.settle(usage);
                Err(error(ErrorKind::Unavailable))
            }
            _ => {
                reserved.settle(usage);
                Ok((number, usage))
            }
        }
    }

    fn journal(&self) -> Vec<Call> {
        self.journal.lock().unwrap().clone()
    }

    fn spent(&self) -> Usd {
        self.journal().iter().map(|call| call.cost).sum()
    }
}

fn about(cell: &Cell, candidate: usize) -> String {
    cell.variant_id(candidate).to_string()
}

/// Writes something else at each call.
struct StormyWriter(Arc<Provider>);

#[async_trait]
impl Writer for StormyWriter {
    fn name(&self) -> &str {
        "stormy/1"
    }

    fn most(&self) -> Usd {
        self.0.most
    }

    async fn write(&self, brief: &Brief<'_>, meter: &Meter) -> Result<Draft, ProviderError> {
        let (seed, usage) = self.0.call(about(brief.cell, brief.candidate), meter).await?;
        Ok(Draft { usage, ..Composer.write(&Brief { seed, ..brief.clone() }, meter).await? })
    }
}

/// Takes offence at every seventh text it reads, whatever it is.
struct StormyScreen(Arc<Provider>);

#[async_trait]
impl HarmScreen for StormyScreen {
    fn most(&self) -> Usd {
        self.0.most
    }

    async fn screen(&self, message: &AsRead<'_>, meter: &Meter) -> Result<Screened, ProviderError> {
        let (number, _) = self.0.call(message.text.to_owned(), meter).await?;
        let severities = Lexicon::default().severities(message.text);
        let offended = Severities { hate: Severity::new(6).unwrap(), ..severities };
        Ok(if offends(number) { offended } else { severities }.into())
    }
}

fn offends(number: u64) -> bool {
    number.is_multiple_of(7)
}

/// A campaign with its providers.
struct World {
    store: Store,
    start: Start,
    writer: Arc<Provider>,
    screen: Arc<Provider>,
    providers: Providers,
    began: Instant,
    folder: Folder,
}

impl World {
    async fn new(writer: Provider, screen: Provider) -> Self {
        Self::with(writer, screen, |provider| Arc::new(StormyWriter(provider))).await
    }

    async fn with(writer: Provider, screen: Provider, write: impl FnOnce(Arc<Provider>) -> Arc<dyn Writer>) -> Self {
        let (writer, screen) = (Arc::new(writer), Arc::new(screen));
        let providers = Providers {
            writer: write(Arc::clone(&writer)),
            screen: Arc::new(StormyScreen(Arc::clone(&screen))),
            ..Providers::default()
        };
        let folder = Folder::new(Method::Rules, 60).edited("candidates = 2", "candidates = 4");
        let plan = Plan::read(&folder.path("campaign.toml"), None, |_| None).unwrap();
        let (start, library) = plan.start(&folder.path("customers.csv")).unwrap();
        let world = Self {
            store: Memory::default().store(),
            start: Start { shard_rows: 10, ..start },
            writer,
            screen,
            providers,
            began: Instant::now(),
            folder,
        };
        world.engine().start(&world.start, library).await.unwrap();
        world
    }

    fn engine(&self) -> Arc<Engine> {
        let workshop = Workshop::new(self.store.clone(), self.folder.path("scratch"), self.providers.clone());
        let began = self.began;
        let clock = Clock(Arc::new(move || Timestamp::UNIX_EPOCH + began.elapsed()));
        Arc::new(Engine::new(self.store.clone(), Arc::new(workshop), clock))
    }

    /// Works until the campaign has ended, and whatever is still on the queues was handled.
    async fn finish(&self) -> View {
        let host = Host::new(self.engine(), Duration::from_secs(30), Duration::from_secs(60), false);
        let watch = self.engine();
        let ended = async {
            loop {
                let view = watch.status(&real::id()).await.unwrap();
                if view.status.is_final() {
                    tokio::time::sleep(Duration::from_secs(900)).await;
                    return view;
                }
                assert!(self.began.elapsed() < Duration::from_secs(24 * 3_600), "it does not end: {view:#?}");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        };
        tokio::select! {
            served = host.serve() => panic!("the host ended: {served:?}"),
            view = ended => view,
        }
    }

    async fn variants(&self) -> Vec<Variant> {
        let blob = self.store.blobs.get(&real::run().file(&layout::blob(layout::VARIANTS))).await.unwrap();
        serde_json::from_slice::<Variants>(&blob.bytes).unwrap().variants
    }

    async fn instance(&self) -> Instance {
        let blob = self.store.blobs.get(&names::instance(&real::id())).await.unwrap();
        serde_json::from_slice(&blob.bytes).unwrap()
    }

    /// Of a stage, by item.
    async fn records(&self, stage: Stage) -> Vec<record::Record> {
        let planned = self.instance().await.stage(stage.into()).unwrap().planned;
        let mut records = Vec::new();
        for index in 0..planned {
            let record = record::read(self.store.blobs.as_ref(), &real::run(), stage.into(), index, 1).await.unwrap();
            records.push(record.unwrap());
        }
        records
    }

    /// Nothing was lost, and whatever is used can be found in the providers' own journals.
    async fn assert_sound(&self) {
        let mut wrong = checker::complaints(&self.store, &real::id(), None).await;
        if checker::waiting(&self.store).await > 0 {
            wrong.push("messages are left".to_owned());
        }
        let (written, screened) = (self.writer.journal(), self.screen.journal());
        let drafts = self.records(Stage::Generate).await;
        let mut used = BTreeMap::new();
        for (index, variant) in self.variants().await.into_iter().enumerate() {
            if variant.usage.input_tokens > 0 {
                let number = variant.usage.input_tokens;
                let call = &written[number as usize - 1];
                if call.about != variant.id.to_string() || call.weather != Weather::Fine {
                    wrong.push(format!("{} is not what call {number} wrote: {call:?}", variant.id));
                }
                if drafts[index].usage != variant.usage {
                    wrong.push(format!("{} is not what is stored of item {index}", variant.id));
                }
                if let Some(other) = used.insert(number, variant.id.clone()) {
                    wrong.push(format!("{other} and {} are both call {number}", variant.id));
                }
            }
            if variant.verdict.decision == Decision::Approved {
                let read = as_read(&variant);
                let passed = |(number, call): (u64, &Call)| {
                    call.about == read && call.weather == Weather::Fine && !offends(number)
                };
                if !(1..).zip(&screened).any(passed) {
                    wrong.push(format!("{} goes out, and the screen never passed it", variant.id));
                }
            }
        }
        let instance = self.instance().await;
        let (settled, spent) = (instance.budget.settled, self.writer.spent() + self.screen.spent());
        let cap = instance.policy.cap_usd.unwrap();
        println!("{settled} settled, {spent} spent, {} reserved of {cap}", instance.budget.reserved);
        if !(settled <= spent && settled <= instance.budget.reserved && instance.budget.reserved <= cap) {
            wrong.push(format!("{settled} settled, {spent} spent, {} reserved of {cap}", instance.budget.reserved));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// As the gate gives it to the screen: with what stands in for a customer's values.
fn as_read(variant: &Variant) -> String {
    let filled = variant.message.filled(&BTreeMap::from([("first_name".to_owned(), "there".to_owned())]));
    format!("{}\n\n{}", filled.subject.unwrap_or_default(), filled.body)
}

fn storm(seed: u64, mut weather: impl FnMut(u32) -> Weather + Send + 'static) -> impl FnMut() -> Weather + Send {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    move || weather(random.random_range(0..100))
}

fn changeable(dice: u32) -> Weather {
    match dice {
        0..20 => Weather::Throttled(None),
        20..35 => Weather::Throttled(Some(Duration::from_secs(7))),
        35..50 => Weather::Down,
        50..55 => Weather::Hangs,
        _ => Weather::Fine,
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_nothing_is_used_that_is_not_stored_and_nothing_released_that_was_not_screened() {
    let seed = real::seed();
    for seed in seed..seed + 3 {
        let writer = Provider::new(dollars(0.05), storm(seed, changeable));
        let screen = Provider::new(dollars(0.01), storm(seed + 1_000, changeable));
        let world = World::new(writer, screen).await;
        let view = world.finish().await;
        assert_eq!(view.status, Status::Completed, "{view:#?}");
        world.assert_sound().await;
        // What failed for good was tried as often as it may be, and not because the provider was busy.
        let journal = world.writer.journal();
        for record in world.records(Stage::Generate).await {
            let Outcome::Failed(tombstone) = record.result else { continue };
            let id = world.variants().await[record.index as usize].id.to_string();
            let tries = journal.iter().filter(|call| call.about == id);
            let failed = tries.filter(|call| matches!(call.weather, Weather::Down | Weather::Hangs)).count();
            assert!(failed >= 5 && !tombstone.reason.contains("Throttled"), "{failed} failures: {}", tombstone.reason);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_nearly_always_busy_fails_no_item() {
    let busy = |dice| match dice {
        0..45 => Weather::Throttled(None),
        45..90 => Weather::Throttled(Some(Duration::from_secs(30))),
        _ => Weather::Fine,
    };
    let seed = real::seed();
    let world = World::new(
        Provider::new(dollars(0.05), storm(seed, busy)),
        Provider::new(dollars(0.01), storm(seed + 1, busy)),
    )
    .await;
    let view = world.finish().await;
    assert_eq!(view.status, Status::Completed, "{view:#?}");
    assert!(view.stages.iter().all(|stage| stage.failed == 0), "{view:#?}");
    // Each draft was paid for once, and each verdict.
    assert_eq!(world.instance().await.budget.settled, world.writer.spent() + world.screen.spent());
    world.assert_sound().await;
}

/// Asks its provider twice for each draft, and is allowed less than that.
struct Greedy(StormyWriter);

#[async_trait]
impl Writer for Greedy {
    fn name(&self) -> &str {
        "greedy/1"
    }

    fn most(&self) -> Usd {
        dollars(0.05 * 1.2)
    }

    async fn write(&self, brief: &Brief<'_>, meter: &Meter) -> Result<Draft, ProviderError> {
        self.0.write(brief, meter).await?;
        self.0.write(brief, meter).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_would_spend_more_than_it_may_is_stopped_before_the_call() {
    // The first call takes a quarter of what was reserved for it: 0.0475 are left, and the second may cost 0.05.
    let greedy = |provider| Arc::new(Greedy(StormyWriter(provider))) as Arc<dyn Writer>;
    let fine = |most| Provider::new(dollars(most), || Weather::Fine);
    let world = World::with(fine(0.05), fine(0.01), greedy).await;
    let view = world.finish().await;
    assert_eq!(view.status, Status::Completed, "{view:#?}");
    let journal = world.writer.journal();
    assert_eq!(journal.len(), world.records(Stage::Generate).await.len());
    let generate = view.stages.iter().find(|stage| stage.step == Stage::Generate.into()).unwrap();
    assert_eq!((generate.done as usize, generate.failed), (journal.len(), 0));
    let variants = world.variants().await;
    assert!(variants.iter().all(|variant| variant.verdict.decision == Decision::Blocked), "{variants:#?}");
    // What was spent in vain is counted.
    assert_eq!(world.instance().await.budget.settled, world.writer.spent());
}
