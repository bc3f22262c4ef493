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
    providers::{CALLS, Services, openai::OpenAi, search::Search},
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

    /// Those that the campaign names. One that is not set up here is a problem, before anything is asked.
    pub fn chosen(&self, campaign: &Campaign) -> Result<Chosen, Vec<Problem>> {
        let names = &campaign.providers;
        let writer = match names.generation {
            WriterName::Embedded => Ok(Arc::clone(&self.writer)),
            WriterName::AzureOpenai => self.services.azure_openai().and_then(|client| model(client, campaign)),
            WriterName::Openai => self.services.openai().and_then(|client| model(client, campaign)),
        };
        let screen = match names.safety {
            ScreenName::Embedded => Ok((Arc::clone(&self.screen), None)),
            ScreenName::AzureContentSafety => self.content_safety(campaign),
        };
        let embedder = match names.embeddings {
            EmbedderName::None => Ok(None),
            EmbedderName::AzureOpenai => {
                let client = self.services.azure_openai();
                client.and_then(|client| embedder(client, "AZURE_OPENAI_EMBEDDING_DEPLOYMENT", campaign)).map(Some)
            }
            EmbedderName::Openai => {
                let client = self.services.openai();
                client.and_then(|client| embedder(client, "OPENAI_EMBEDDING_MODEL", campaign)).map(Some)
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

    fn content_safety(&self, campaign: &Campaign) -> Result<Screening, Problem> {
        let client = self.services.content_safety()?;
        let shields = PromptShields::new(Arc::clone(&client), campaign.prices.clone());
        let settings = campaign.safety.content_safety.clone();
        let shields = settings.prompt_shields.then(|| Arc::new(shields));
        let screen = ContentSafetyScreen::new(client, campaign.prices.clone(), settings, shields.clone());
        Ok((Arc::new(screen), shields))
    }
}

fn model(client: Arc<OpenAi>, campaign: &Campaign) -> Result<Arc<dyn Writer>, Problem> {
    let is_here = client.is_here();
    let price = |model: &str| campaign.prices.of_asked(model, is_here);
    Ok(Arc::new(Model::new(client, &campaign.generation.model, price)?))
}

fn embedder(client: Arc<OpenAi>, setting: &str, campaign: &Campaign) -> Result<Embedder, Problem> {
    let model = client.embedding_model.clone().ok_or_else(|| {
        let message = format!("the campaign wants embeddings, and the setting {setting} does not say by which model");
        Problem::new(message, format!("set the environment variable {setting}")).at_field("providers.embeddings")
    })?;
    let price = campaign.prices.of_asked(&model, client.is_here())?;
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
