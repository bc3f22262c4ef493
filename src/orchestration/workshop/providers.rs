//! Who answers the agents' questions.

use std::{fmt, sync::Arc};

use crate::{
    agents::{
        generation::{Writer, composer::Composer},
        safety::{ContentSafetyScreen, HarmScreen, Lexicon, PromptShields},
    },
    config::{
        Campaign,
        campaign::{ContentSafety, ScreenName, WriterName},
    },
    domain::problem::Problem,
    providers::Services,
};

/// All that this process has. Campaigns choose from it by name.
#[derive(Clone)]
pub struct Providers {
    /// The writer and the screen that need no service.
    pub writer: Arc<dyn Writer>,
    pub screen: Arc<dyn HarmScreen>,
    pub services: Arc<Services>,
}

impl Default for Providers {
    /// Those that need no service, and no service.
    fn default() -> Self {
        Self { writer: Arc::new(Composer), screen: Arc::new(Lexicon::default()), services: Arc::new(Services::none()) }
    }
}

impl Providers {
    /// With the services of the environment's settings.
    pub fn of_environment() -> Self {
        Self { services: Arc::new(Services::from_environment()), ..Self::default() }
    }

    /// Those that the campaign names. One that is not set up here is a problem, before anything is asked.
    pub fn chosen(&self, campaign: &Campaign) -> Result<Chosen, Vec<Problem>> {
        let names = &campaign.providers;
        let writer = match names.generation {
            WriterName::Embedded => Ok(Arc::clone(&self.writer)),
            WriterName::AzureOpenai | WriterName::Openai => Err(unknown("generation")),
        };
        let screen = match names.safety {
            ScreenName::Embedded => Ok((Arc::clone(&self.screen), None)),
            ScreenName::AzureContentSafety => self.content_safety(&campaign.safety.content_safety),
        };
        match (writer, screen) {
            (Ok(writer), Ok((screen, shields))) => Ok(Chosen { writer, screen, shields }),
            (writer, screen) => Err([writer.err(), screen.err()].into_iter().flatten().collect()),
        }
    }

    fn content_safety(
        &self,
        settings: &ContentSafety,
    ) -> Result<(Arc<dyn HarmScreen>, Option<Arc<PromptShields>>), Problem> {
        let client = self.services.content_safety()?;
        let shields = settings.prompt_shields.then(|| Arc::new(PromptShields::new(Arc::clone(&client))));
        Ok((Arc::new(ContentSafetyScreen::new(client, settings.clone(), shields.clone())), shields))
    }
}

fn unknown(agent: &str) -> Problem {
    Problem::new("this version cannot ask that provider yet", "leave the key out")
        .at_field(format!("providers.{agent}"))
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
}
