//! The services that this process may ask, by the settings of whoever runs it.
//!
//! A campaign names its providers; where they are and who we are to them is the operator's: environment variables, as the
//! vendors name them. Nothing is read, and no setting can be wrong, before a campaign asks for the service.

use std::{
    env, fmt,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
};

use super::{content_safety::ContentSafety, mlflow::MlFlow, openai::OpenAi, search::Search, service::InvalidAddress};
use crate::{domain::problem::Problem, providers::credential::InvalidKey};

/// Calls of one provider at once, where nobody says otherwise. The messages of a usual campaign are written together: what
/// a provider does not bear it says, and gets fewer.
pub const CALLS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// More take more connections than a process is usually given.
const MOST_CALLS: NonZeroUsize = NonZeroUsize::new(1_000).expect("1,000 is not 0");

type Once<T> = OnceLock<Result<Arc<T>, Problem>>;

/// One client of each for the whole process: they share connections, tokens and what is known of the service's health.
pub struct Services {
    settings: Settings,
    azure_openai: Once<OpenAi>,
    openai: Once<OpenAi>,
    content_safety: Once<ContentSafety>,
    azure_search: Once<Search>,
    mlflow: Once<MlFlow>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// `value` gives a setting's text; an empty one counts as none.
    pub fn new(value: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self {
            settings: Settings::new(value),
            azure_openai: Once::new(),
            openai: Once::new(),
            content_safety: Once::new(),
            azure_search: Once::new(),
            mlflow: Once::new(),
        }
    }

    pub fn from_environment() -> Self {
        Self::new(|name| env::var(name).ok())
    }

    /// None at all.
    pub fn none() -> Self {
        Self::new(|_| None)
    }

    /// Whether the operator has said anything of it.
    pub fn is_set(&self, name: &str) -> bool {
        self.settings.get(name).is_some()
    }

    /// `CPO_CALLS`: calls of one provider under way at once, as long as it bears them; else [`CALLS`].
    pub fn calls(&self) -> Result<NonZeroUsize, Problem> {
        const NAME: &str = "CPO_CALLS";
        let Some(text) = self.settings.get(NAME) else { return Ok(CALLS) };
        let calls = text.parse().ok().filter(|calls| *calls <= MOST_CALLS);
        calls.ok_or_else(|| {
            let remedy = "set it to how many calls a provider bears at once, e.g. 1 for a server on this machine, or \
                          leave it out";
            Problem::new(format!("the setting {NAME} is no number from 1 to {MOST_CALLS}"), remedy)
        })
    }

    pub fn azure_openai(&self) -> Result<Arc<OpenAi>, Problem> {
        self.azure_openai.get_or_init(|| OpenAi::azure(&self.settings).map(Arc::new)).clone()
    }

    pub fn openai(&self) -> Result<Arc<OpenAi>, Problem> {
        self.openai.get_or_init(|| OpenAi::compatible(&self.settings).map(Arc::new)).clone()
    }

    pub fn content_safety(&self) -> Result<Arc<ContentSafety>, Problem> {
        self.content_safety.get_or_init(|| ContentSafety::new(&self.settings).map(Arc::new)).clone()
    }

    pub fn azure_search(&self) -> Result<Arc<Search>, Problem> {
        self.azure_search.get_or_init(|| Search::azure(&self.settings).map(Arc::new)).clone()
    }

    pub fn mlflow(&self) -> Result<Arc<MlFlow>, Problem> {
        self.mlflow.get_or_init(|| MlFlow::new(&self.settings).map(Arc::new)).clone()
    }
}

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Settings by name. What they hold is told to nobody.
pub struct Settings(Box<Lookup>);

impl Settings {
    pub(super) fn new(value: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Box::new(value))
    }

    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A setting without which `provider` cannot be asked.
    pub fn required(&self, name: &'static str, provider: &str, example: &str) -> Result<String, Problem> {
        self.get(name).ok_or_else(|| {
            let message = format!("the campaign names the provider `{provider}`, and the setting {name} is not there");
            Problem::new(message, format!("set the environment variable {name}, e.g. {example}"))
        })
    }
}

/// A setting that is there and cannot be used.
pub(super) fn wrong_address(name: &'static str, why: &InvalidAddress) -> Problem {
    Problem::new(format!("the setting {name}: {why}"), "set it to the address that the service's page shows")
}

pub(super) fn wrong_key(name: &'static str, why: InvalidKey) -> Problem {
    Problem::new(format!("the setting {name}: {why}"), "copy the key once more")
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// All settings that somebody looks at who has an address for each service, and no key.
    fn read() -> BTreeSet<String> {
        let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let services = Services::new(move |name| {
            seen.lock().unwrap().insert(name.to_owned());
            let is_address = ["_ENDPOINT", "_URL", "_URI"].iter().any(|end| name.ends_with(end));
            is_address.then(|| "http://127.0.0.1:1".to_owned())
        });
        let made = [
            services.azure_openai().map(drop),
            services.openai().map(drop),
            services.content_safety().map(drop),
            services.azure_search().map(drop),
            services.mlflow().map(drop),
        ];
        drop(made);
        let asked = asked.lock().unwrap();
        asked.clone()
    }

    #[test]
    fn what_the_templates_set_is_what_the_app_reads() {
        let template = include_str!("../../infra/modules/app.bicep");
        let is_provider_s = |name: &&str| {
            ["AZURE_OPENAI", "AZURE_SEARCH", "AZURE_CONTENT", "MLFLOW"].iter().any(|start| name.starts_with(start))
        };
        let set = template.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name);
        let set: BTreeSet<String> = set.filter(is_provider_s).map(str::to_owned).collect();
        assert!(set.len() >= 6, "{set:?}");
        assert!(set.is_subset(&read()), "{:?} are read by nobody", &set - &read());
        // No key is among them: the app's identity has the roles.
        assert!(!set.iter().any(|name| name.ends_with("KEY") || name.ends_with("TOKEN")), "{set:?}");
    }

    #[test]
    fn calls_at_once_are_a_number_within_reason_or_the_default() {
        let calls = |said: Option<&'static str>| {
            Services::new(move |name| said.filter(|_| name == "CPO_CALLS").map(str::to_owned)).calls()
        };
        for (said, expected) in
            [(None, 64), (Some(""), 64), (Some(" 1 "), 1), (Some("200"), 200), (Some("1000"), 1_000)]
        {
            assert_eq!(calls(said).map(NonZeroUsize::get), Ok(expected), "{said:?}");
        }
        for nonsense in ["0", "-1", "1001", "1e2", "many", "18446744073709551616"] {
            let problem = calls(Some(nonsense)).unwrap_err();
            assert!(problem.message.contains("CPO_CALLS is no number from 1 to 1000"), "{nonsense}: {problem}");
        }
    }
}
