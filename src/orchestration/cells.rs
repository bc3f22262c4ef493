//! The stages that work per segment and cell: retrieve, generate, screen. None of them sees a customer.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::civil::Date;

use crate::{
    Error,
    agents::{
        generation::{Brief, Source, Writer},
        provider::Meter,
        retrieval::{Hit, Query, Retrieved, Retriever, library::Library},
        safety::{Gate, HarmScreen},
    },
    config::Campaign,
    domain::{
        money::Usd,
        phrases::PhraseBook,
        problem::Problem,
        segment::Segment,
        variant::{Cell, Draft, Variant},
        verdict::{Decision, Finding, Rule, Verdict},
    },
    orchestration::{progress::Running, work::cells::Task},
};

/// The embedded providers charge nothing, and may not.
fn free() -> Meter {
    Meter::new(Usd::ZERO)
}

/// Provider calls under way at once.
const CONCURRENCY: usize = 16;

/// Answers in the order of the queries. A segment for which nothing may be said stops the campaign here, before
/// anything is generated.
pub async fn retrieve(
    queries: Vec<Query>,
    retriever: &dyn Retriever,
    content: &std::path::Path,
    running: &Running<'_>,
) -> Result<Vec<Retrieved>, Error> {
    let answers: Vec<Retrieved> = stream::iter(queries)
        .map(|query| async move {
            let hits =
                retriever.retrieve(&query, &free()).await.map_err(|error| Error::failed("retrieval failed", error))?;
            running.advance(1);
            let Query { text, audience, channel, locale, .. } = query;
            Ok::<_, Error>(Retrieved { segment: audience, channel, locale, query: text, hits })
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let problems: Vec<Problem> =
        answers.iter().filter(|answer| answer.hits.is_empty()).map(|answer| missing(answer, content)).collect();
    if problems.is_empty() { Ok(answers) } else { Err(problems.into()) }
}

fn missing(answer: &Retrieved, content: &std::path::Path) -> Problem {
    let whom = answer
        .segment
        .as_ref()
        .map_or_else(|| "everybody (the control message)".to_owned(), |segment| format!("segment `{segment}`"));
    Problem::new(
        format!("there is no approved content for {whom} on {} in {}", answer.channel, answer.locale),
        "add a document, or set status, approved_on, validity, audience, channels and locales so that one applies \
         on the campaign's date",
    )
    .in_file(content)
}

/// What writing and judging need besides the task.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    pub campaign: &'a Campaign,
    pub date: Date,
    pub segments: &'a [Segment],
    pub content: &'a Library,
    pub retrieved: &'a [Retrieved],
    pub phrases: &'a PhraseBook,
}

impl Desk<'_> {
    fn hits(&self, cell: &Cell) -> &[Hit] {
        self.retrieved
            .iter()
            .find(|answer| {
                answer.segment == cell.segment && answer.channel == cell.channel && answer.locale == cell.locale
            })
            .map(|answer| answer.hits.as_slice())
            .unwrap_or_default()
    }

    fn sources(&self, cell: &Cell) -> Vec<Source<'_>> {
        self.hits(cell)
            .iter()
            .filter_map(|hit| {
                let (document, passage) = self.content.passage(&hit.passage)?;
                Some(Source { document, passage })
            })
            .collect()
    }
}

/// Writes every variant. A variant that cannot be written is `Err` with the reason: its cell falls back.
pub async fn generate(
    tasks: &[Task],
    desk: Desk<'_>,
    writer: &dyn Writer,
    running: &Running<'_>,
) -> Vec<Result<Draft, String>> {
    stream::iter(tasks)
        .map(|task| async move {
            let sources = desk.sources(&task.cell);
            let brief = Brief {
                cell: &task.cell,
                segment: desk.segments.iter().find(|segment| Some(&segment.name) == task.cell.segment.as_ref()),
                tone: &task.tone,
                campaign_name: &desk.campaign.campaign.name,
                date: desk.date,
                sources: &sources,
                brand: &desk.campaign.generation.brand,
                slots: &desk.campaign.generation.slots,
                candidate: task.candidate,
                seed: desk.campaign.generation.seed,
            };
            let draft = writer.write(&brief, &free()).await.map_err(|error| error.to_string());
            running.advance(1);
            draft
        })
        .buffered(CONCURRENCY)
        .collect()
        .await
}

/// Judges every draft. What could not be written is a blocked variant that says why: nothing disappears.
pub async fn screen(
    tasks: Vec<Task>,
    drafts: Vec<Result<Draft, String>>,
    desk: Desk<'_>,
    writer: &str,
    harm: &dyn HarmScreen,
    running: &Running<'_>,
) -> Vec<Variant> {
    stream::iter(tasks.into_iter().zip(drafts))
        .map(|(task, draft)| async move {
            let (draft, verdict) = match draft {
                Err(why) => (Draft::nothing(), not_judged(why)),
                Ok(draft) => {
                    let gate = Gate {
                        content: desk.content,
                        date: desk.date,
                        allowed: desk.hits(&task.cell),
                        phrases: desk.phrases,
                        brand: &desk.campaign.generation.brand,
                        slots: &desk.campaign.generation.slots,
                        safety: &desk.campaign.safety,
                        screen: harm,
                    };
                    let verdict = gate.judge(&task.cell, &draft, &free()).await;
                    let verdict = verdict.unwrap_or_else(|error| not_judged(error.to_string()));
                    (draft, verdict)
                }
            };
            running.advance(1);
            Variant {
                id: task.cell.variant_id(task.candidate),
                cell: task.cell,
                message: draft.message,
                claims: draft.claims,
                verdict,
                writer: writer.to_owned(),
                usage: draft.usage,
            }
        })
        .buffered(CONCURRENCY)
        .collect()
        .await
}

fn not_judged(why: String) -> Verdict {
    let finding =
        Finding { rule: Rule::CheckFailed, blocks: true, span: None, text: String::new(), passage: None, why };
    Verdict { decision: Decision::Blocked, findings: vec![finding], severities: None }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use async_trait::async_trait;
    use jiff::civil::date;

    use super::*;
    use crate::{
        agents::{
            generation::{composer::Composer, phrases},
            provider::{ErrorKind, ProviderError},
            retrieval::full_text::FullText,
            safety::Lexicon,
        },
        domain::{id::SegmentName, verdict::Severities},
        orchestration::{
            progress::Progress,
            stage::Stage,
            work::cells::{queries, tasks},
        },
    };

    /// Fails for one arm, writes like the composer for the others.
    struct FailingWriter;

    #[async_trait]
    impl Writer for FailingWriter {
        fn name(&self) -> &str {
            "failing/1"
        }

        async fn write(&self, brief: &Brief<'_>, meter: &Meter) -> Result<Draft, ProviderError> {
            if brief.cell.arm.as_str() == "friendly" {
                let message = "the model did not answer".to_owned();
                return Err(ProviderError { provider: "test", kind: ErrorKind::Unavailable, message });
            }
            Composer.write(brief, meter).await
        }
    }

    struct FailingScreen;

    #[async_trait]
    impl HarmScreen for FailingScreen {
        async fn screen(&self, _: &str, _: &Meter) -> Result<Severities, ProviderError> {
            let message = "the screen did not answer".to_owned();
            Err(ProviderError { provider: "test", kind: ErrorKind::Unavailable, message })
        }
    }

    /// The starter campaign's content for its segment of everybody, through these providers.
    async fn variants(writer: &dyn Writer, harm: &dyn HarmScreen) -> Vec<Variant> {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let campaign = Campaign::read(&starter.join("campaign.toml")).unwrap();
        let library = Library::load(&starter.join("content")).unwrap();
        let date = date(2026, 11, 22);
        let segments = [Segment {
            name: SegmentName::new("Everyone else").unwrap(),
            description: String::new(),
            keywords: Vec::new(),
        }];
        let progress = Progress::new(&|_| {});
        let running = progress.start(Stage::Screen, 0);
        let index = FullText::new(&library, date).unwrap();
        let queries = queries(&campaign, &segments);
        let retrieved = retrieve(queries, &index, &starter, &running).await.unwrap();
        let phrases = phrases::phrase_book(&campaign);
        let desk = Desk {
            campaign: &campaign,
            date,
            segments: &segments,
            content: &library,
            retrieved: &retrieved,
            phrases: &phrases,
        };
        let tasks = tasks(&campaign, &segments);
        let drafts = generate(&tasks, desk, writer, &running).await;
        screen(tasks, drafts, desk, writer.name(), harm, &running).await
    }

    fn approved(variants: &[Variant]) -> usize {
        variants.iter().filter(|variant| variant.verdict.decision == Decision::Approved).count()
    }

    #[tokio::test]
    async fn a_variant_that_could_not_be_written_is_blocked_and_still_counted() {
        let variants = variants(&FailingWriter, &Lexicon::default()).await;
        let (failed, written): (Vec<_>, Vec<_>) =
            variants.into_iter().partition(|variant| variant.cell.arm.as_str() == "friendly");
        assert_eq!((failed.len(), approved(&failed)), (4, 0));
        assert!(failed[0].verdict.findings[0].why.contains("the model did not answer"));
        assert_eq!(approved(&written), written.len());
    }

    #[tokio::test]
    async fn without_an_answer_of_the_harm_screen_nothing_is_approved() {
        let variants = variants(&Composer, &FailingScreen).await;
        assert_eq!((variants.len(), approved(&variants)), (12, 0));
    }
}
