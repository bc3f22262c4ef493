//! Who answers the agents' questions.

use std::{fmt, sync::Arc};

use crate::{
    agents::{
        generation::{Writer, composer::Composer},
        safety::{HarmScreen, Lexicon},
    },
    config::{
        Campaign,
        campaign::{ScreenName, TrackerName, WriterName},
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
            ScreenName::Embedded => Ok(Arc::clone(&self.screen)),
            ScreenName::AzureContentSafety => Err(unknown("safety")),
        };
        // It is asked only in the end, and may be down then; that it is not set up is told before.
        let tracker = match names.tracking {
            TrackerName::None => Ok(()),
            TrackerName::Mlflow => self.services.mlflow().map(drop),
        };
        match (writer, screen, tracker) {
            (Ok(writer), Ok(screen), Ok(())) => Ok(Chosen { writer, screen }),
            (writer, screen, tracker) => {
                Err([writer.err(), screen.err(), tracker.err()].into_iter().flatten().collect())
            }
        }
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
}
