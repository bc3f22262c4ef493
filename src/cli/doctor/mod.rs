//! `cpo doctor`: whether the providers and the storage can be used, and if not, what to mend.

mod diagnosis;
mod storage;

use std::{
    env,
    path::{Path, PathBuf},
    time::Instant,
};

use comfy_table::{ContentArrangement, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use self::diagnosis::{Diagnosis, SetUp};
use crate::{
    Error,
    cli::{self, Format},
    config::{
        Campaign,
        campaign::{EmbedderName, RetrieverName, ScreenName, TrackerName, WriterName},
    },
    providers::{Services, service::Fault},
};

/// Check every provider that the campaign names, or without one all that the environment sets up, and the storage.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cpo doctor                        all providers whose settings are there
  cpo doctor spring/campaign.toml   those that this campaign names
  cpo doctor --format json

Each is asked the smallest question that it answers (a fraction of a cent at most). Exit code 1 if one does not work.
docs/providers.md lists settings, roles and errors.")]
pub struct Args {
    /// Check what this campaign needs.
    campaign: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: Args) -> Result<(), Error> {
    let campaign = args.campaign.as_deref().map(Campaign::read).transpose()?;
    let services = Services::from_environment();
    let examined = cli::block_on(async {
        let mut examined = examine(&services, campaign.as_ref()).await;
        examined.push(calls(&services));
        examined.push(storage::examine(|name| env::var(name).ok(), Path::new(".")).await);
        Ok(examined)
    })?;
    match args.format {
        Format::Json => examined.iter().try_for_each(|examined| cli::print_json(&Told::of(examined)))?,
        Format::Text => cli::print(&render(&examined))?,
    }
    match examined.iter().filter(|examined| examined.found.is_err()).count() {
        0 => Ok(()),
        ill => Err(Error::failed(format!("{ill} of {} do not work", examined.len()), "see above what to mend")),
    }
}

/// What became of one question.
#[derive(Debug)]
struct Examined {
    provider: &'static str,
    /// The agent that needs it.
    used_for: &'static str,
    found: Found,
}

/// What answered, or what is wrong.
type Found = Result<String, Diagnosis>;

#[derive(Serialize)]
struct Told<'a> {
    used_for: &'static str,
    provider: &'static str,
    ok: bool,
    says: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of(examined: &'a Examined) -> Self {
        let Examined { provider, used_for, found } = examined;
        let (says, remedy) = match found {
            Ok(says) => (says, None),
            Err(Diagnosis { wrong, remedy }) => (wrong, Some(remedy.as_str())),
        };
        Self { used_for, provider, ok: found.is_ok(), says, remedy }
    }
}

/// A provider and what it is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Writer(WriterName),
    Embedder(EmbedderName),
    Retriever,
    Screen,
    Tracker,
}

const AZURE_OPENAI: SetUp = SetUp {
    address: "AZURE_OPENAI_ENDPOINT",
    key: "AZURE_OPENAI_API_KEY",
    role: "the role Cognitive Services OpenAI User on the resource",
    name: "the deployment (AZURE_OPENAI_DEPLOYMENT, AZURE_OPENAI_EMBEDDING_DEPLOYMENT or generation.model.name)",
};

const OPENAI: SetUp = SetUp {
    address: "OPENAI_BASE_URL",
    key: "OPENAI_API_KEY",
    role: "the right to use the model, in the project that the key is of",
    name: "the model (OPENAI_MODEL, OPENAI_EMBEDDING_MODEL or generation.model.name)",
};

const SEARCH: &str = "AZURE_SEARCH_ENDPOINT";
const CONTENT_SAFETY: &str = "AZURE_CONTENT_SAFETY_ENDPOINT";
const MLFLOW: &str = "MLFLOW_TRACKING_URI";

impl Subject {
    /// Those of a campaign; without one, those whose address is set.
    fn all(services: &Services, campaign: Option<&Campaign>) -> Vec<Self> {
        let Some(names) = campaign.map(|campaign| campaign.providers) else {
            let settings = [
                (AZURE_OPENAI.address, Self::Writer(WriterName::AzureOpenai)),
                ("AZURE_OPENAI_EMBEDDING_DEPLOYMENT", Self::Embedder(EmbedderName::AzureOpenai)),
                (OPENAI.address, Self::Writer(WriterName::Openai)),
                ("OPENAI_EMBEDDING_MODEL", Self::Embedder(EmbedderName::Openai)),
                (SEARCH, Self::Retriever),
                (CONTENT_SAFETY, Self::Screen),
                (MLFLOW, Self::Tracker),
            ];
            return settings
                .into_iter()
                .filter(|(name, _)| services.is_set(name))
                .map(|(_, subject)| subject)
                .collect();
        };
        let writer = (names.generation != WriterName::Embedded).then_some(Self::Writer(names.generation));
        let embedder = (names.embeddings != EmbedderName::None).then_some(Self::Embedder(names.embeddings));
        let retriever = (names.retrieval == RetrieverName::AzureSearch).then_some(Self::Retriever);
        let screen = (names.safety == ScreenName::AzureContentSafety).then_some(Self::Screen);
        let tracker = (names.tracking == TrackerName::Mlflow).then_some(Self::Tracker);
        [writer, embedder, retriever, screen, tracker].into_iter().flatten().collect()
    }

    fn provider(self) -> &'static str {
        match self {
            Self::Writer(WriterName::AzureOpenai) | Self::Embedder(EmbedderName::AzureOpenai) => "azure_openai",
            Self::Writer(_) | Self::Embedder(_) => "openai",
            Self::Retriever => "azure_search",
            Self::Screen => "azure_content_safety",
            Self::Tracker => "mlflow",
        }
    }

    fn used_for(self) -> &'static str {
        match self {
            Self::Writer(_) => "generation",
            Self::Embedder(_) => "embeddings",
            Self::Retriever => "retrieval",
            Self::Screen => "safety",
            Self::Tracker => "tracking",
        }
    }

    fn set_up(self) -> SetUp {
        match self {
            Self::Writer(WriterName::AzureOpenai) | Self::Embedder(EmbedderName::AzureOpenai) => AZURE_OPENAI,
            Self::Writer(_) | Self::Embedder(_) => OPENAI,
            Self::Retriever => SetUp {
                address: SEARCH,
                key: "AZURE_SEARCH_API_KEY",
                role: "the roles Search Service Contributor and Search Index Data Contributor on the service",
                name: "the index",
            },
            Self::Screen => SetUp {
                address: CONTENT_SAFETY,
                key: "AZURE_CONTENT_SAFETY_KEY",
                role: "the role Cognitive Services User on the resource",
                name: "the blocklists (safety.content_safety)",
            },
            Self::Tracker => SetUp {
                address: MLFLOW,
                key: "MLFLOW_TRACKING_TOKEN",
                role: "the role AzureML Data Scientist on the workspace, or the server's own right to write",
                name: "the experiment",
            },
        }
    }

    async fn examine(self, services: &Services, campaign: Option<&Campaign>) -> Found {
        let since = Instant::now();
        let prices = campaign.map(|campaign| campaign.prices.clone()).unwrap_or_default();
        let told = |fault: Fault| Diagnosis::of(&fault, &self.set_up());
        let what = match self {
            Self::Writer(name) => {
                let client = if name == WriterName::AzureOpenai { services.azure_openai() } else { services.openai() }?;
                let named = campaign.and_then(|campaign| campaign.generation.model.name.clone());
                let model = named.or_else(|| client.model.clone()).ok_or_else(|| self.no_name())?;
                client.probe(&model).await.map_err(told)?;
                prices.of_asked(&model, client.is_here())?;
                format!("`{model}`")
            }
            Self::Embedder(name) => {
                let client =
                    if name == EmbedderName::AzureOpenai { services.azure_openai() } else { services.openai() }?;
                let model = client.embedding_model.clone().ok_or_else(|| self.no_name())?;
                client.probe_embeddings(&model).await.map_err(told)?;
                prices.of_asked(&model, client.is_here())?;
                format!("`{model}`")
            }
            Self::Screen => {
                let client = services.content_safety()?;
                client.probe().await.map_err(told)?;
                for name in campaign.iter().flat_map(|campaign| &campaign.safety.content_safety.blocklists) {
                    if !client.has_blocklist(name).await.map_err(told)? {
                        return Err(Diagnosis {
                            wrong: format!("the service has no blocklist `{name}`, and refuses to judge by it"),
                            remedy: "make the list in Content Safety Studio, or mend safety.content_safety.blocklists"
                                .to_owned(),
                        });
                    }
                }
                "harm analysis".to_owned()
            }
            Self::Retriever => {
                services.azure_search()?.probe().await.map_err(told)?;
                "the list of indexes".to_owned()
            }
            Self::Tracker => {
                services.mlflow()?.probe().await.map_err(told)?;
                "the list of experiments".to_owned()
            }
        };
        Ok(format!("{what} answered in {} ms", since.elapsed().as_millis()))
    }

    fn no_name(self) -> Diagnosis {
        let name = self.set_up().name;
        Diagnosis { wrong: "nobody says by which name it is to be asked".to_owned(), remedy: format!("name {name}") }
    }
}

/// One after the other: what is wrong with one may be what is wrong with the next.
async fn examine(services: &Services, campaign: Option<&Campaign>) -> Vec<Examined> {
    let mut examined = Vec::new();
    for subject in Subject::all(services, campaign) {
        let found = subject.examine(services, campaign).await;
        examined.push(Examined { provider: subject.provider(), used_for: subject.used_for(), found });
    }
    examined
}

/// The setting that counts for every provider.
fn calls(services: &Services) -> Examined {
    let found = match services.calls() {
        Ok(calls) => Ok(format!("at most {calls} calls at once (CPO_CALLS)")),
        Err(problem) => Err(problem.into()),
    };
    Examined { provider: "each", used_for: "calls", found }
}

fn render(examined: &[Examined]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["for", "provider", "", "what"]);
    for Examined { provider, used_for, found } in examined {
        let (mark, what) = match found {
            Ok(what) => ("ok", what.clone()),
            Err(Diagnosis { wrong, remedy }) => ("FAILS", format!("{wrong}\nfix: {remedy}")),
        };
        table.add_row([*used_for, *provider, mark, &what]);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests;
