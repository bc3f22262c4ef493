//! What the items of one run share; each process reads it once.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use jiff::civil::Date;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::{
    Job, Trouble,
    cells::{self, Task},
    compute,
    design::Designed,
    fit,
    folder::Folder,
    ingest::Admitted,
    providers::{Chosen, Providers},
    records::Records,
    release::Released,
};
use crate::{
    agents::{
        experimentation::deliver::Delivering,
        generation::phrases,
        retrieval::{
            Hit, Query, Retriever,
            azure_search::{self, AzureSearch},
            full_text::FullText,
            hybrid::Hybrid,
            library::Library,
            vectors::Embeddings,
        },
        segmentation::Model,
    },
    domain::{
        attribute::Attributes, customer::ShardId, digest::Digest, id::DocumentId, phrases::PhraseBook,
        problem::Problem, variant::Variant, verdict::Verdict,
    },
    orchestration::{
        finished::Variants,
        names::{self, Run},
        recalls,
        stage::Stage,
        start::Start,
    },
    providers::prices::{List, Prices},
};

/// What is known when the run starts, and cells for what its stages add: the first item that needs one fills it, and
/// the others wait for it. A failure is nobody's but the item's that met it.
pub struct Context {
    pub start: Start,
    pub attributes: Attributes,
    /// The day for which approvals, validity windows and offers are judged.
    pub date: Date,
    pub phrases: PhraseBook,
    /// The campaign's own, and those of the list that it was started with.
    pub prices: Prices,
    /// When the list's were read.
    pub prices_read_on: Date,
    chosen: OnceLock<Result<Chosen, Vec<Problem>>>,
    content: OnceCell<Arc<Library>>,
    index: OnceCell<Arc<dyn Retriever>>,
    found: Mutex<HashMap<(u32, u32), Vec<Hit>>>,
    admitted: OnceCell<Admitted>,
    model: OnceCell<Arc<Model>>,
    designed: OnceCell<Designed>,
    queries: OnceCell<Vec<Query>>,
    tasks: OnceCell<Vec<Task>>,
    released: OnceCell<Vec<Variant>>,
    delivering: OnceCell<Arc<Delivering>>,
    verdicts: Verdicts,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Context {
    pub async fn read(records: Records<'_>) -> Result<Self, Trouble> {
        let bytes = input(records, records.instance.start).await?;
        let start: Start = parse("what the campaign was started with", &bytes)?;
        let list = start.prices.clone().unwrap_or_else(List::shipped);
        let date = start.campaign.campaign.date;
        Ok(Self {
            attributes: start.campaign.attributes(),
            date: date.ok_or_else(|| Trouble::Defect("the campaign was started without a date".into()))?,
            phrases: phrases::phrase_book(&start.campaign),
            prices: start.campaign.prices.over(&list),
            prices_read_on: list.read_on,
            chosen: OnceLock::new(),
            start,
            content: OnceCell::new(),
            index: OnceCell::new(),
            found: Mutex::default(),
            admitted: OnceCell::new(),
            model: OnceCell::new(),
            designed: OnceCell::new(),
            queries: OnceCell::new(),
            tasks: OnceCell::new(),
            released: OnceCell::new(),
            delivering: OnceCell::new(),
            verdicts: Verdicts::default(),
        })
    }

    /// On messages for single customers.
    pub fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    pub fn chosen(&self, providers: &Providers) -> Result<&Chosen, Trouble> {
        let chosen = self.chosen.get_or_init(|| providers.chosen(&self.start.campaign, &self.prices));
        chosen.as_ref().map_err(|problems| Trouble::Problems(problems.clone()))
    }

    /// As it was when the campaign was started.
    pub async fn content_json(&self, records: Records<'_>) -> Result<Vec<u8>, Trouble> {
        input(records, self.start.documents).await
    }

    pub async fn content(&self, records: Records<'_>) -> Result<&Arc<Library>, Trouble> {
        let read = || async { Ok(Arc::new(parse("the content", &self.content_json(records).await?)?)) };
        self.content.get_or_try_init(read).await
    }

    /// What the index found for questions that have no answer yet, by attempt and item: whoever is put off after it was
    /// asked does not ask, and pay, again.
    pub fn found(&self) -> MutexGuard<'_, HashMap<(u32, u32), Vec<Hit>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What retrieves from the content, as the campaign wants it.
    pub async fn index(&self, job: Job<'_>) -> Result<&Arc<dyn Retriever>, Trouble> {
        let build = || async {
            let chosen = job.providers()?;
            let (library, date) = (Arc::clone(self.content(job.records).await?), self.date);
            let digest = self.start.documents;
            let embeddings = chosen.embedder.clone().map(|embedder| Embeddings {
                blobs: Arc::clone(&job.workshop.store.blobs),
                path: names::vectors(&job.records.run.campaign, embedder.version(digest)),
                embedder,
            });
            if let Some(client) = chosen.search.clone() {
                let recalled = recalls::of(job.records.blobs).await?;
                let content = azure_search::Content { library, digest, recalled, date };
                let price = self.prices.semantic_queries(1);
                let retriever: Arc<dyn Retriever> = Arc::new(AzureSearch::new(client, content, embeddings, price));
                return Ok(retriever);
            }
            compute(move || {
                Ok(match embeddings {
                    Some(embeddings) => Arc::new(Hybrid::new(library, date, embeddings)?) as Arc<dyn Retriever>,
                    None => Arc::new(FullText::new(&library, date)?),
                })
            })
            .await
        };
        self.index.get_or_try_init(build).await
    }

    pub async fn admitted(&self, records: Records<'_>) -> Result<&Admitted, Trouble> {
        self.admitted.get_or_try_init(|| records.output(Stage::Ingest.into(), 0)).await
    }

    /// A shard's table as it was recorded.
    pub async fn shard(&self, records: Records<'_>, id: ShardId) -> Result<Vec<u8>, Trouble> {
        let written = self.admitted(records).await?.shards.get(id.0 as usize);
        let written = written.ok_or_else(|| Trouble::Defect(format!("there is no shard {id}").into()))?;
        folder(records).get(written).await
    }

    pub async fn model(&self, records: Records<'_>) -> Result<&Arc<Model>, Trouble> {
        let read = || async {
            let written = fit::model(self, records).await?;
            Ok(Arc::new(folder(records).get_json(&written).await?))
        };
        self.model.get_or_try_init(read).await
    }

    pub async fn designed(&self, records: Records<'_>) -> Result<&Designed, Trouble> {
        self.designed.get_or_try_init(|| records.output(Stage::Design.into(), 0)).await
    }

    /// What is asked, by item.
    pub async fn queries(&self, records: Records<'_>) -> Result<&[Query], Trouble> {
        let list = || async {
            let designed = self.designed(records).await?;
            Ok::<_, Trouble>(cells::queries(&self.start.campaign, &designed.segments))
        };
        self.queries.get_or_try_init(list).await.map(Vec::as_slice)
    }

    /// What is written, by item.
    pub async fn tasks(&self, records: Records<'_>) -> Result<&[Task], Trouble> {
        let list = || async {
            let designed = self.designed(records).await?;
            Ok::<_, Trouble>(cells::tasks(&self.start.campaign, &designed.segments))
        };
        self.tasks.get_or_try_init(list).await.map(Vec::as_slice)
    }

    /// All variants as they were released.
    pub async fn released(&self, records: Records<'_>) -> Result<&[Variant], Trouble> {
        let read = || async {
            let released: Released = records.output(Stage::Release.into(), 0).await?;
            let Variants { variants, .. } = folder(records).get_json(&released.variants).await?;
            Ok::<_, Trouble>(variants)
        };
        self.released.get_or_try_init(read).await.map(Vec::as_slice)
    }

    /// What cites one of the documents goes to nobody.
    pub async fn delivering(
        &self,
        records: Records<'_>,
        recalled: &BTreeSet<DocumentId>,
    ) -> Result<Arc<Delivering>, Trouble> {
        let make = || async {
            let mut variants = self.released(records).await?.to_vec();
            variants.iter_mut().for_each(|variant| recalls::block(variant, recalled));
            let model = self.model(records).await?;
            Ok::<_, Trouble>(Arc::new(Delivering::new(&self.start.campaign, model.segments(), &variants)))
        };
        // Recalls in the middle of a delivery are too rare to be remembered.
        if recalled.is_empty() { self.delivering.get_or_try_init(make).await.cloned() } else { make().await }
    }
}

/// What was judged in this process. Many customers are written the same: it is judged, and paid for, once.
#[derive(Default)]
pub struct Verdicts(Mutex<HashMap<Digest, Verdict>>);

impl Verdicts {
    /// Some megabytes. Of more messages than this, some are judged again.
    const MOST: usize = 16_384;

    pub fn of(&self, message: Digest) -> Option<Verdict> {
        self.known().get(&message).cloned()
    }

    /// Nothing is remembered of a check that could not be made: the next one may be.
    pub fn remember(&self, message: Digest, verdict: &Verdict) {
        let mut known = self.known();
        if verdict.severities.is_some() && known.len() < Self::MOST {
            known.insert(message, verdict.clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Verdict>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of the runs that a process works on.
#[derive(Debug, Default)]
pub struct Contexts {
    /// The last used first.
    known: Mutex<VecDeque<Known>>,
}

#[derive(Debug)]
struct Known {
    run: Run,
    context: Arc<OnceCell<Arc<Context>>>,
}

impl Contexts {
    /// Of more runs than this at once, some are read again and again.
    const MOST: usize = 4;

    pub async fn of(&self, records: Records<'_>) -> Result<Arc<Context>, Trouble> {
        let cell = self.cell(records.run);
        let read = || async { Context::read(records).await.map(Arc::new) };
        cell.get_or_try_init(read).await.cloned()
    }

    fn cell(&self, run: &Run) -> Arc<OnceCell<Arc<Context>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let position = known.iter().position(|known| known.run == *run);
        let used = position.and_then(|position| known.remove(position));
        let used = used.unwrap_or_else(|| Known { run: run.clone(), context: Arc::default() });
        let context = Arc::clone(&used.context);
        known.push_front(used);
        known.truncate(Self::MOST);
        context
    }
}

fn folder(records: Records<'_>) -> Folder<'_> {
    Folder { blobs: records.blobs, run: records.run }
}

async fn input(records: Records<'_>, digest: Digest) -> Result<Vec<u8>, Trouble> {
    let Run { campaign, .. } = records.run;
    Ok(records.blobs.get(&names::input(campaign, digest)).await?.bytes)
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(bytes).map_err(|error| Trouble::Defect(format!("{what}: {error}").into()))
}
