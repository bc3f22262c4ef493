//! A deployed folder: host.json, a folder for each function, what to run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::function::Function;

#[derive(Debug)]
pub struct Package {
    pub folder: PathBuf,
    pub functions: BTreeMap<String, Function>,
    pub settings: Settings,
    pub command: Vec<String>,
}

/// Of host.json, as far as the double follows it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub forwarding: bool,
    pub proxying: bool,
    pub queues: QueueSettings,
    pub times: Times,
}

#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Messages that are asked for at once; when no more than `new_batch_threshold` are in hand it asks again.
    pub batch_size: usize,
    pub new_batch_threshold: usize,
    /// How often a message is handed out.
    pub max_deliveries: u32,
}

/// A test may shorten any of them.
#[derive(Debug, Clone)]
pub struct Times {
    /// From the start of a process to its first answer.
    pub ready: Duration,
    /// From the start of a call to its time-out.
    pub function: Duration,
    /// From a time-out to the end of the process.
    pub kill: Duration,
    /// What calls in hand are given when the host is told to end.
    pub drain_http: Duration,
    pub drain_queues: Duration,
    /// Errors further apart than this do not add up.
    pub forgive: Duration,
    /// After a failed try a message stays hidden for so long.
    pub hide_failed: Duration,
    /// Between two looks at an empty queue.
    pub poll: Duration,
}

impl Package {
    pub fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("host.json")).unwrap();
        let host: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(host["version"], "2.0");
        let custom = &host["customHandler"];
        let executable = custom["description"]["defaultExecutablePath"].as_str().unwrap();
        // In the package where it is there, otherwise on the PATH.
        let file = folder.join(executable);
        let executable = if file.exists() { file.to_str().unwrap().to_owned() } else { executable.to_owned() };
        let arguments = custom["description"]["arguments"].as_array().into_iter().flatten();
        // They are joined by spaces and split again.
        let arguments: Vec<_> = arguments.map(|argument| argument.as_str().unwrap()).collect();
        let arguments = arguments.join(" ");
        let mut command = vec![executable];
        command.extend(arguments.split_whitespace().map(str::to_owned));
        Self { folder: folder.to_owned(), functions: Function::all_of(folder), settings: Settings::of(&host), command }
    }
}

impl Settings {
    fn of(host: &Value) -> Self {
        let custom = &host["customHandler"];
        let queues = &host["extensions"]["queues"];
        let number = |name: &str, default: u64| queues[name].as_u64().unwrap_or(default);
        let batch_size = number("batchSize", 16);
        let time = |value: &Value, default: u64| value.as_str().map_or(Duration::from_secs(default), seconds);
        Self {
            forwarding: custom["enableForwardingHttpRequest"] == true,
            proxying: custom["enableProxyingHttpRequest"] == true,
            queues: QueueSettings {
                batch_size: usize::try_from(batch_size).unwrap(),
                new_batch_threshold: usize::try_from(number("newBatchThreshold", batch_size / 2)).unwrap(),
                max_deliveries: u32::try_from(number("maxDequeueCount", 5)).unwrap(),
            },
            times: Times {
                ready: time(&custom["initializationTimeout"], 30),
                function: time(&host["functionTimeout"], 30 * 60),
                kill: Duration::from_secs(2),
                drain_http: Duration::from_secs(30),
                drain_queues: Duration::from_secs(10),
                forgive: Duration::from_secs(30 * 60),
                hide_failed: time(&queues["visibilityTimeout"], 0),
                poll: time(&queues["maxPollingInterval"], 60),
            },
        }
    }
}

/// Of `hh:mm:ss`.
fn seconds(text: &str) -> Duration {
    let parts = text.split(':').map(|part| part.parse::<u64>().unwrap());
    Duration::from_secs(parts.fold(0, |seconds, part| seconds * 60 + part))
}
