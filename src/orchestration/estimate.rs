//! `cpo estimate`: what a campaign will cost, before anybody is asked anything that costs.
//!
//! The campaign is run in a scratch folder until its design is made, by the code that runs it in earnest. So the
//! estimate counts what the run will count, and is what the run will write down.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    campaign::{SWEEP_EVERY, VISIBILITY, of_client, of_store, open, why_failed},
    engine::{Clock, Engine},
    host::Host,
    instance::{Failure, Instance, Status},
    item::Item,
    names::Run,
    plan::Plan,
    stage::Stage,
    workshop::{Agents, Designed, Output, Providers, Records, Setback, Workshop},
};
use crate::{
    Error,
    domain::{
        estimate::{self, StageEstimate},
        id::CampaignId,
        money::Usd,
    },
};

/// What is to be estimated.
#[derive(Debug)]
pub struct Inputs {
    pub campaign_file: PathBuf,
    pub customers: PathBuf,
    /// Instead of the campaign file's `content.path`.
    pub content: Option<PathBuf>,
}

#[derive(Debug)]
pub struct Estimate {
    pub campaign: CampaignId,
    /// Who may be contacted.
    pub customers: u64,
    pub stages: Vec<StageEstimate>,
    pub max_usd: Option<Usd>,
    /// What to do where it could cost more than it may.
    pub over_budget: Option<Error>,
}

impl Estimate {
    pub fn expected(&self) -> Usd {
        estimate::expected(&self.stages)
    }

    pub fn most(&self) -> Usd {
        estimate::most(&self.stages)
    }

    /// Dollars, as expected.
    pub fn per_customer(&self) -> f64 {
        if self.customers == 0 { 0.0 } else { self.expected().dollars() / self.customers as f64 }
    }
}

/// Of the providers that the campaign names, which must be set up: what they charge may depend on where they are. None of
/// them is asked.
pub async fn estimate(inputs: Inputs, providers: Providers) -> Result<Estimate, Error> {
    let failed = |error| Error::failed("no scratch folder can be made", error);
    let scratch = tempfile::tempdir().map_err(failed)?;
    let plan = Plan::read(&inputs.campaign_file, inputs.content.as_deref(), |_| None)?;
    let (start, documents) = plan.start(&inputs.customers)?;
    let campaign = &start.campaign.campaign.id;
    let store = open(&scratch.path().join("run"), campaign)?.store();
    let files = scratch.path().join("files");
    std::fs::create_dir(&files).map_err(failed)?;
    let agents = UntilDesigned(Workshop::new(store.clone(), files, providers));
    let engine = Arc::new(Engine::new(store, Arc::new(agents), Clock::default()));
    engine.start(&start, documents).await.map_err(of_client)?;
    let host = Host::new(Arc::clone(&engine), VISIBILITY, SWEEP_EVERY, true);
    let instance = host.serve_until(designed(&engine, campaign)).await.map_err(of_store)??;
    let over_budget = match &instance.status {
        Status::Failed { failure } => {
            let why = why_failed(&engine.store, &instance, failure.clone()).await?;
            match failure {
                Failure::OverBudget { .. } => Some(why),
                _ => return Err(why),
            }
        }
        _ => None,
    };
    let run = Run { campaign: campaign.clone(), generation: instance.generation };
    let records = Records { blobs: engine.store.blobs.as_ref(), run: &run, instance: &instance };
    let designed: Designed = records
        .output(Stage::Design.into(), 0)
        .await
        .map_err(|trouble| Error::failed("the design cannot be read", trouble.to_string()))?;
    Ok(Estimate {
        campaign: campaign.clone(),
        customers: designed.profiles.iter().map(|profile| profile.customers).sum(),
        stages: designed.estimate,
        max_usd: start.campaign.budget.max_usd,
        over_budget,
    })
}

/// The agents of a run that goes no further than its design: what comes after it waits for ever, and nobody is asked.
#[derive(Debug)]
struct UntilDesigned(Workshop);

#[async_trait]
impl Agents for UntilDesigned {
    async fn perform(&self, item: &Item, instance: &Instance) -> Result<Output, Setback> {
        match item.step.stage {
            Stage::Ingest | Stage::Profile | Stage::Fit | Stage::Label | Stage::Design => {
                self.0.perform(item, instance).await
            }
            _ => std::future::pending().await,
        }
    }
}

/// The instance when its design is made, or when it goes no further.
async fn designed(engine: &Engine, campaign: &CampaignId) -> Result<Instance, Error> {
    const LOOK_AGAIN: Duration = Duration::from_millis(100);
    let mut progress = engine.progress();
    loop {
        progress.mark_unchanged();
        let instance = engine.held(campaign).await.map_err(of_client)?.instance;
        let is_designed = instance.stage(Stage::Design.into()).is_some_and(|stage| !stage.is_open());
        if is_designed || instance.status != Status::Running {
            return Ok(instance);
        }
        // The engine outlives its watchers.
        let _ = tokio::time::timeout(LOOK_AGAIN, progress.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, fs, path::Path};

    use super::*;
    use crate::{
        orchestration::{
            campaign::{self, Ended, Means},
            finished::RunFiles,
            layout,
            ledger::Ledger,
        },
        providers::{Services, prices::Prices},
    };

    /// 5 segments x 3 tones x 1 channel x 2 candidates, as a marketer would write it.
    const CAMPAIGN: &str = r#"
[campaign]
id = "spring"
name = "Spring refill"
date = "2026-11-22"
locales = ["en"]
channels = ["email"]

[customers]
id = "id"
[customers.columns]
recency_days = "recency"
consent = "consent"

[segmentation]
method = "rules"
rules = [
  { name = "New", when = "recency_days < 10" },
  { name = "Active", when = "recency_days < 30" },
  { name = "Cooling", when = "recency_days < 90" },
  { name = "Lapsed", when = "recency_days < 300" },
  { name = "Lost" },
]

[content]
path = "content"

[generation.brand]
name = "Harbour Coffee"

[experiment]
primary_metric = "conversion"
control = 0.25
arms = [
  { name = "concise", tone = "concise" },
  { name = "friendly", tone = "friendly" },
  { name = "timely", tone = "timely" },
]
"#;

    const DOCUMENT: &str = "---\ntitle: Refill\ncategory: product\nstatus: approved\napproved_on: 2026-01-01\n---\n\n\
                            A bag from Harbour Coffee holds 500 g of whole beans.\n";

    fn inputs(folder: &Path, customers: u32, more: &str) -> Inputs {
        let mut file = "id,recency,consent\n".to_owned();
        for customer in 0..customers {
            writeln!(file, "c{customer},{},yes", customer % 400).unwrap();
        }
        fs::write(folder.join("customers.csv"), file).unwrap();
        fs::write(folder.join("campaign.toml"), format!("{CAMPAIGN}\n{more}")).unwrap();
        fs::create_dir_all(folder.join("content")).unwrap();
        fs::write(folder.join("content/refill.md"), DOCUMENT).unwrap();
        Inputs { campaign_file: folder.join("campaign.toml"), customers: folder.join("customers.csv"), content: None }
    }

    /// Addresses at which nobody is.
    fn charged() -> Providers {
        let services = Services::new(|name| {
            let value = match name {
                "AZURE_OPENAI_ENDPOINT" | "AZURE_CONTENT_SAFETY_ENDPOINT" => "https://nobody.invalid",
                "AZURE_OPENAI_API_KEY" | "AZURE_CONTENT_SAFETY_KEY" => "a-key",
                "AZURE_OPENAI_DEPLOYMENT" => "gpt-4o-mini",
                _ => return None,
            };
            Some(value.to_owned())
        });
        Providers { services: Arc::new(services), ..Providers::default() }
    }

    const CLOUD: &str = "[providers]\ngeneration = \"azure_openai\"\nsafety = \"azure_content_safety\"\n";

    #[tokio::test(flavor = "multi_thread")]
    async fn ten_thousand_customers_by_segment_cost_less_than_a_hundredth_of_a_cent_each() {
        let folder = tempfile::tempdir().unwrap();
        let estimate = estimate(inputs(folder.path(), 10_000, CLOUD), charged()).await.unwrap();
        let questions: Vec<_> = estimate.stages.iter().map(|stage| (stage.stage.as_str(), stage.questions)).collect();
        assert_eq!(questions, [("retrieve", 6), ("generate", 32), ("screen", 32)]);
        assert_eq!(estimate.customers, 10_000);
        assert!(estimate.over_budget.is_none());
        // A search for each segment, had it been the service that was asked.
        let with_search = estimate.expected() + Prices::default().semantic_queries(6);
        assert!(with_search.dollars() / 10_000.0 < 0.000_1, "{with_search}");
        assert!(estimate.expected() > Usd::ZERO && estimate.expected() < estimate.most());
        let most = estimate.most() + Prices::default().semantic_queries(6);
        assert!(most.dollars() / 10_000.0 < 0.000_1, "even at most: {most}");
        let generate = &estimate.stages[1];
        assert!(generate.provider.contains("gpt-4o-mini"), "{}", generate.provider);
        assert_eq!(
            generate.assumes[0],
            "(5 segments x 3 arms and the control message) x 1 channel x 1 locale x 2 candidates = 32 messages"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cap_that_would_be_passed_is_told_together_with_the_estimate() {
        let folder = tempfile::tempdir().unwrap();
        let estimate =
            estimate(inputs(folder.path(), 400, &format!("{CLOUD}[budget]\nmax_usd = 0.01")), charged()).await.unwrap();
        let error = estimate.over_budget.as_ref().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("budget.max_usd") && error.to_string().contains("fix: raise"), "{error}");
        assert!(estimate.most() > Usd::from_dollars(0.01).unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_embedded_campaign_is_estimated_at_nothing_and_its_ledger_says_so_beside_what_was_spent() {
        let folder = tempfile::tempdir().unwrap();
        let Inputs { campaign_file, customers, content } = inputs(folder.path(), 400, "[budget]\nmax_usd = 0.0");
        let again = Inputs { campaign_file: campaign_file.clone(), customers: customers.clone(), content: None };
        let estimated = estimate(again, Providers::default()).await.unwrap();
        assert_eq!((estimated.expected(), estimated.most()), (Usd::ZERO, Usd::ZERO));

        let out = folder.path().join("out");
        let run = campaign::Inputs {
            campaign_file,
            customers,
            content,
            out: out.clone(),
            replace: false,
            simulate: false,
            storage: None,
        };
        let ended = campaign::run_with(run, Means::default(), &|_| {}).await.unwrap();
        assert!(matches!(ended, Ended::Complete(_)));
        let files = out.join("campaigns/spring");
        let ledger: Ledger = RunFiles::in_folder(&files).json(layout::LEDGER).await.unwrap();
        assert_eq!(ledger.estimate, estimated.stages);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_owner_must_mend_is_told_in_place_of_an_estimate() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = inputs(folder.path(), 10, "[providers]\ngeneration = \"azure_openai\"");
        let error = estimate(inputs, Providers::default()).await.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("AZURE_OPENAI_ENDPOINT"), "{error}");
    }
}
