//! Why one customer gets what they get: everything that a finished campaign's files say of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::BufReader,
    path::Path,
};

use arrow_array::{Array as _, cast::AsArray as _};
use serde::Serialize;
use utoipa::ToSchema;

use super::{deliveries, finished::RunFiles, layout, messages::Messages};
use crate::{
    Error,
    agents::generation::fields::{Fields, FieldsOf},
    domain::{
        customer::{Shard, ShardId},
        id::CampaignId,
        variant::{Claim, Message},
        verdict::{Decision, Finding},
    },
    store::table,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    pub customer: String,
    pub campaign: CampaignId,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// May not be contacted.
    Suppressed {
        /// Of the customer file.
        line: String,
        reason: String,
    },
    Planned(Box<Planned>),
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Planned {
    pub segment: String,
    /// The rule that matched, or what the segment's method went by.
    pub segment_reason: String,
    /// `holdout`, `control` or an arm's name.
    pub arm: String,
    /// `assigned`, `fallback`, `held` or `holdout`.
    pub status: String,
    /// Why it is not `assigned`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Where somebody wrote to this customer alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal: Option<Personal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

/// How the message for one customer came about.
#[derive(Debug, Serialize, ToSchema)]
pub struct Personal {
    /// All that its writer was told of the customer.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub told: Fields,
    pub writer: String,
    /// Where it is not approved, the customer gets their segment's.
    pub decision: Decision,
    pub findings: Vec<Finding>,
}

/// The message, with the customer's values in it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sent {
    pub variant: String,
    pub message: Message,
    pub claims: Vec<Claim>,
    pub decision: Decision,
    pub findings: Vec<Finding>,
}

impl Explanation {
    /// `None`: no such customer among the deliveries and the suppressed.
    pub async fn of(files: &RunFiles, customer: &str, scratch: &Path) -> Result<Option<Self>, Error> {
        let frozen = files.frozen().await?;
        let fields = &frozen.campaign.generation.fields;
        let outcome = match planned(files, customer, fields).await? {
            Some(planned) => Outcome::Planned(Box::new(planned)),
            None => match suppressed(files, customer, scratch).await? {
                Some(suppressed) => suppressed,
                None => return Ok(None),
            },
        };
        Ok(Some(Self { customer: customer.to_owned(), campaign: frozen.campaign.campaign.id, outcome }))
    }

    pub fn in_words(&self) -> String {
        let mut text = format!("Customer {} in campaign {}\n", self.customer, self.campaign);
        match &self.outcome {
            Outcome::Suppressed { line, reason } => {
                text.push_str(&format!("  gets nothing: {reason} (line {line} of the customer file)\n"));
            }
            Outcome::Planned(planned) => planned.tell(&mut text),
        }
        text
    }
}

impl Planned {
    fn tell(&self, text: &mut String) {
        text.push_str(&format!("  segment   {}: {}\n", self.segment, self.segment_reason));
        text.push_str(&format!("  arm       {}\n", self.arm));
        text.push_str(&format!("  status    {}", self.status));
        if let Some(reason) = &self.reason {
            text.push_str(&format!(": {reason}"));
        }
        text.push('\n');
        if let (Some(channel), Some(locale)) = (&self.channel, &self.locale) {
            text.push_str(&format!("  channel   {channel}, {locale}\n"));
        }
        if let Some(Personal { told, writer, decision, .. }) = &self.personal {
            let told: Vec<String> = told.iter().map(|(name, value)| format!("{name} {value}")).collect();
            text.push_str(&format!("  personal  {decision:?}, by {writer}, who was told: {}\n", told.join(", ")));
        }
        let Some(sent) = &self.sent else { return };
        text.push_str(&format!("  variant   {} ({:?})\n\n", sent.variant, sent.decision));
        if let Some(subject) = &sent.message.subject {
            text.push_str(&format!("    Subject: {subject}\n\n"));
        }
        for line in sent.message.body.lines() {
            text.push_str(&format!("    {line}\n"));
        }
        text.push_str("\n  what it rests on\n");
        for claim in &sent.claims {
            text.push_str(&format!(
                "    \"{}\"\n      <- {} \"{}\"\n",
                claim.text, claim.citation.passage, claim.citation.quote
            ));
        }
    }
}

/// The list may be as long as the customer file.
async fn suppressed(files: &RunFiles, customer: &str, scratch: &Path) -> Result<Option<Outcome>, Error> {
    let path = layout::blob(layout::SUPPRESSED);
    let list = files.open(&path, scratch).await?;
    let customer = customer.to_owned();
    let found = tokio::task::spawn_blocking(move || on_list(list, &customer)).await;
    let unreadable =
        |error: Box<dyn std::error::Error + Send + Sync>| Error::failed(format!("{path} cannot be read"), error);
    found.map_err(|error| unreadable(error.into()))?.map_err(|error| unreadable(error.into()))
}

fn on_list(list: File, customer: &str) -> csv::Result<Option<Outcome>> {
    for record in csv::Reader::from_reader(BufReader::new(list)).into_records() {
        let record = record?;
        if record.get(0) == Some(customer) {
            let text = |index| record.get(index).unwrap_or_default().to_owned();
            return Ok(Some(Outcome::Suppressed { line: text(1), reason: text(2) }));
        }
    }
    Ok(None)
}

async fn planned(files: &RunFiles, customer: &str, fields: &BTreeSet<String>) -> Result<Option<Planned>, Error> {
    let Some((shard, table, position)) = deliveries::find(files, customer).await? else { return Ok(None) };
    let Some(row) = table.rows().nth(position) else { return Ok(None) };
    let mut messages = Messages::read(files).await?;
    messages.turn_to(files, shard).await?;
    let personal = match messages.written_for(customer) {
        Some(variant) => Some(Personal {
            told: told(files, shard, position, fields).await?,
            writer: variant.writer.clone(),
            decision: variant.verdict.decision,
            findings: variant.verdict.findings.clone(),
        }),
        None => None,
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Ok(Some(Planned {
        segment: row.segment.to_owned(),
        segment_reason: segment_reason(files, shard, position).await?,
        arm: row.arm.to_owned(),
        status: row.status.to_owned(),
        reason: owned(row.reason),
        channel: owned(row.channel),
        locale: owned(row.locale),
        personal,
        sent: row.variant.and_then(|id| sent(&messages, id, row.slots)),
    }))
}

/// The labels' table has the same rows in the same order as the deliveries' of the same shard.
async fn segment_reason(files: &RunFiles, shard: ShardId, position: usize) -> Result<String, Error> {
    let path = layout::table(layout::LABELS, shard);
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::failed(format!("{} cannot be read", files.shown(&path).display()), error)
    };
    let rows = table::decode(files.bytes(&path).await?).map_err(|error| failed(error.into()))?;
    let reasons =
        rows.column_by_name("reason").ok_or_else(|| failed("no reason column".into())).and_then(|column| {
            arrow_cast::cast(column, &arrow_schema::DataType::Utf8).map_err(|error| failed(error.into()))
        })?;
    let reasons = reasons
        .as_string_opt::<i32>()
        .filter(|reasons| position < reasons.len())
        .ok_or_else(|| failed("it is not the labels of these deliveries".into()))?;
    Ok(reasons.value(position).to_owned())
}

/// The customers' table has the same rows in the same order as the deliveries' of the same shard.
async fn told(files: &RunFiles, shard: ShardId, row: usize, fields: &BTreeSet<String>) -> Result<Fields, Error> {
    let path = layout::table(layout::SHARDS, shard);
    let bytes = files.bytes(&path).await?;
    let read = || {
        let shard = Shard { id: shard, rows: table::decode(bytes)? };
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(FieldsOf::new(&shard, fields)?.of(row))
    };
    read().map_err(|error| Error::failed(format!("{} cannot be read", files.shown(&path).display()), error))
}

fn sent(messages: &Messages, id: &str, slots: Option<&str>) -> Option<Sent> {
    let slots: BTreeMap<String, String> = slots.and_then(|slots| serde_json::from_str(slots).ok()).unwrap_or_default();
    messages.get(id).map(|variant| Sent {
        variant: id.to_owned(),
        message: variant.message.filled(&slots),
        claims: variant.claims.clone(),
        decision: variant.verdict.decision,
        findings: variant.verdict.findings.clone(),
    })
}
