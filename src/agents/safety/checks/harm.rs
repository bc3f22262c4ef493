//! The harm screen's answer held against the campaign's thresholds.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;

use crate::{
    agents::safety::{AsRead, HarmScreen, Screened},
    config::campaign::Thresholds,
    domain::verdict::{Finding, Harm, Rule, Severities},
    providers::{ErrorKind, Meter, ProviderError},
};

/// A screen that has not answered by then has failed. It must await what it waits for: a screen that blocks its thread
/// cannot be timed out.
pub const TIME_OUT: Duration = Duration::from_secs(30);

/// Asks the screen; what it found comes after the harms. An error that may pass or that its operator can mend, time-outs among them, is one: the text is judged
/// another time. What would happen again (any other error, a panic) is a finding that blocks.
pub async fn check(
    screen: &dyn HarmScreen,
    message: &AsRead<'_>,
    block_at: &Thresholds,
    meter: &Meter,
) -> Result<(Option<Severities>, Vec<Finding>), ProviderError> {
    // The inner block catches a panic of the call itself too. Screen and meter are only read after a panic, by other
    // calls.
    let answer = AssertUnwindSafe(async { screen.screen(message, meter).await }).catch_unwind();
    let why = match tokio::time::timeout(TIME_OUT, answer).await {
        Ok(Ok(Ok(Screened { severities, findings }))) => {
            let harms = against(&severities, block_at);
            return Ok((Some(severities), harms.into_iter().chain(findings).collect()));
        }
        Ok(Ok(Err(error))) if !error.is_final() => return Err(error),
        Ok(Ok(Err(error))) => format!("the harm screen failed: {error}"),
        Ok(Err(_)) => "the harm screen broke down".to_owned(),
        Err(_) => {
            let message = format!("no answer within {} s", TIME_OUT.as_secs());
            return Err(ProviderError { provider: "harm screen", kind: ErrorKind::Unavailable, message });
        }
    };
    Ok((None, vec![Finding::blocking(Rule::CheckFailed, "", why)]))
}

fn against(severities: &Severities, block_at: &Thresholds) -> Vec<Finding> {
    let finding = |harm: Harm| {
        let (severity, threshold) = (severities.of(harm), block_at.of(harm));
        let blocks = severity >= threshold;
        let why = format!("{harm}: severity {}, blocked from {}", severity.level(), threshold.level());
        (blocks || severity.level() > 0).then(|| Finding { blocks, ..Finding::blocking(Rule::Harm, "", why) })
    };
    Harm::ALL.into_iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::verdict::Severity;

    #[test]
    fn the_threshold_itself_blocks_in_every_category() {
        let level = |n| Severity::new(n).unwrap();
        for harm in Harm::ALL {
            for (severity, threshold) in (0..=7).flat_map(|s| (0..=7).map(move |t| (s, t))) {
                let of = |h, n| if h == harm { level(n) } else { level(0) };
                let severities = Severities {
                    hate: of(Harm::Hate, severity),
                    sexual: of(Harm::Sexual, severity),
                    violence: of(Harm::Violence, severity),
                    self_harm: of(Harm::SelfHarm, severity),
                };
                let at = |h| if h == harm { level(threshold) } else { level(7) };
                let block_at = Thresholds {
                    hate: at(Harm::Hate),
                    sexual: at(Harm::Sexual),
                    violence: at(Harm::Violence),
                    self_harm: at(Harm::SelfHarm),
                };
                let findings = against(&severities, &block_at);
                assert_eq!(findings.iter().any(|finding| finding.blocks), severity >= threshold);
                assert_eq!(findings.is_empty(), severity == 0 && threshold > 0);
            }
        }
    }
}
