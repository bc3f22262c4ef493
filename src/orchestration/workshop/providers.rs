//! Who answers the agents' questions.

use std::{fmt, num::NonZeroUsize, sync::Arc};

use crate::{
    agents::{
        generation::{Writer, composer::Composer, model::Model},
        retrieval::embedder::Embedder,
        safety::{ContentSafetyScreen, HarmScreen, Lexicon, PromptShields},
    },
    config::{
        Campaign,
        campaign::{EmbedderName, RetrieverName, ScreenName, TrackerName, WriterName},
    },
    domain::problem::Problem,
    providers::{CALLS, Services, openai::OpenAi, prices::Prices, search::Search},
};

/// A screen, and the shields of its service.
type Screening = (Arc<dyn HarmScreen>, Option<Arc<PromptShields>>);

/// All that this process has. Campaigns choose from it by name.
#[derive(Clone)]
pub struct Providers {
    /// The writer and the screen that need no service.
    pub writer: Arc<dyn Writer>,
    pub screen: Arc<dyn HarmScreen>,
    pub services: Arc<Services>,
    /// Of one provider, under way at once: the most that an agent asks.
    pub calls: NonZeroUsize,
}

impl Default for Providers {
    /// Those that need no service, and no service.
    fn default() -> Self {
        Self {
            writer: Arc::new(Composer),
            screen: Arc::new(Lexicon::default()),
            services: Arc::new(Services::none()),
            calls: CALLS,
        }
    }
}

impl Providers {
    /// With the services of the environment's settings.
    pub fn of_environment() -> Result<Self, Problem> {
        let services = Services::from_environment();
        Ok(Self { calls: services.calls()?, services: Arc::new(services), ..Self::default() })
    }

    /// Those that the campaign names, which charge these prices. One that is not set up here is a problem, before anything
    /// is asked.
    pub fn chosen(&self, campaign: &Campaign, prices: &Prices) -> Result<Chosen, Vec<Problem>> {
        let names = &campaign.providers;
        let writer = match names.generation {
            WriterName::Embedded => Ok(Arc::clone(&self.writer)),
            WriterName::AzureOpenai => self.services.azure_openai().and_then(|client| model(client, campaign, prices)),
            WriterName::Openai => self.services.openai().and_then(|client| model(client, campaign, prices)),
        };
        let screen = match names.safety {
            ScreenName::Embedded => Ok((Arc::clone(&self.screen), None)),
            ScreenName::AzureContentSafety => self.content_safety(campaign, prices),
        };
        let embedder = match names.embeddings {
            EmbedderName::None => Ok(None),
            EmbedderName::AzureOpenai => {
                let client = self.services.azure_openai();
                client
                    .and_then(|client| embedder(client, "AZURE_OPENAI_EMBEDDING_DEPLOYMENT", campaign, prices))
                    .map(Some)
            }
            EmbedderName::Openai => {
                let client = self.services.openai();
                client.and_then(|client| embedder(client, "OPENAI_EMBEDDING_MODEL", campaign, prices)).map(Some)
            }
        };
        let search = match names.retrieval {
            RetrieverName::Embedded => Ok(None),
            RetrieverName::AzureSearch => self.services.azure_search().map(Some),
        };
        // It is asked only in the end, and may be down then; that it is not set up is told before.
        let tracker = match names.tracking {
            TrackerName::None => Ok(()),
            TrackerName::Mlflow => self.services.mlflow().map(drop),
        };
        match (writer, screen, embedder, search, tracker) {
            (Ok(writer), Ok((screen, shields)), Ok(embedder), Ok(search), Ok(())) => {
                Ok(Chosen { writer, screen, shields, embedder, search })
            }
            (writer, screen, embedder, search, tracker) => {
                let problems = [writer.err(), screen.err(), embedder.err(), search.err(), tracker.err()];
                Err(problems.into_iter().flatten().collect())
            }
        }
    }

    fn content_safety(&self, campaign: &Campaign, prices: &Prices) -> Result<Screening, Problem> {
        let client = self.services.content_safety()?;
        let shields = PromptShields::new(Arc::clone(&client), prices.clone());
        let settings = campaign.safety.content_safety.clone();
        let shields = settings.prompt_shields.then(|| Arc::new(shields));
        let screen = ContentSafetyScreen::new(client, prices.clone(), settings, shields.clone());
        Ok((Arc::new(screen), shields))
    }
}

fn model(client: Arc<OpenAi>, campaign: &Campaign, prices: &Prices) -> Result<Arc<dyn Writer>, Problem> {
    let prices = prices_of(&client, campaign, prices);
    let is_here = client.is_here();
    let price = |model: &str| prices.of_asked(model, is_here);
    Ok(Arc::new(Model::new(client, &campaign.generation.model, price)?))
}

/// What a list says of a model is not said of one on this machine.
fn prices_of<'a>(client: &OpenAi, campaign: &'a Campaign, prices: &'a Prices) -> &'a Prices {
    if client.is_here() { &campaign.prices } else { prices }
}

fn embedder(client: Arc<OpenAi>, setting: &str, campaign: &Campaign, prices: &Prices) -> Result<Embedder, Problem> {
    let model = client.embedding_model.clone().ok_or_else(|| {
        let message = format!("the campaign wants embeddings, and the setting {setting} does not say by which model");
        Problem::new(message, format!("set the environment variable {setting}")).at_field("providers.embeddings")
    })?;
    let price = prices_of(&client, campaign, prices).of_asked(&model, client.is_here())?;
    Ok(Embedder::new(client, model, price))
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").field("writer", &self.writer.name()).finish_non_exhaustive()
    }
}

/// Those of one campaign.
#[derive(Clone)]
pub struct Chosen {
    pub writer: Arc<dyn Writer>,
    pub screen: Arc<dyn HarmScreen>,
    /// `None`: nobody looks for attacks in passages.
    pub shields: Option<Arc<PromptShields>>,
    /// `None`: retrieval is by words alone.
    pub embedder: Option<Embedder>,
    /// `None`: the embedded index.
    pub search: Option<Arc<Search>>,
}
