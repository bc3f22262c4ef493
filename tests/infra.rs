//! The templates in `infra/` make what the functions and the code need, under the same names.
//!
//! The templates are read as text, as far as that is simple: lists of names stand one to a line.

use std::{collections::BTreeSet, fs, path::Path};

use cpo::orchestration::{engine::Engine, layout, names, stage::Agent};
use serde_json::Value;

type Names = BTreeSet<String>;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of `var <name> = [ ... ]`, without quotes.
fn list(template: &str, name: &str) -> Names {
    let text = read(template);
    let (_, rest) = text.split_once(&format!("var {name} = [\n")).expect("the template has this list");
    let (lines, _) = rest.split_once("\n]").expect("the list ends");
    lines.lines().map(|line| line.trim().trim_matches('\'').to_owned()).collect()
}

struct Function {
    name: String,
    trigger: Value,
}

impl Function {
    fn is(&self, kind: &str) -> bool {
        self.trigger["type"] == kind
    }

    fn text(&self, field: &str) -> &str {
        self.trigger[field].as_str().unwrap_or_else(|| panic!("{} has no `{field}`", self.name))
    }
}

fn functions() -> Vec<Function> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("functions");
    let folders = fs::read_dir(folder).expect("there are functions").map(|entry| entry.unwrap());
    folders
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let json: Value = serde_json::from_str(&read(&format!("functions/{name}/function.json"))).unwrap();
            let bindings = json["bindings"].as_array().unwrap();
            let is_trigger = |binding: &&Value| binding["type"].as_str().unwrap().ends_with("Trigger");
            let trigger = bindings.iter().find(is_trigger).expect("a function has a trigger").clone();
            Function { name, trigger }
        })
        .collect()
}

#[test]
fn every_queue_that_somebody_sends_to_or_waits_at_is_made_and_no_other() {
    let queues = list("infra/modules/storage.bicep", "queues");

    let mut of_code: Names = Agent::ALL.iter().map(|agent| agent.queue().as_str().to_owned()).collect();
    of_code.insert(Engine::orchestrate().as_str().to_owned());
    of_code.insert("storage-events".to_owned());
    assert_eq!(queues, of_code);

    let with_poison: Names = queues.iter().flat_map(|queue| [queue.clone(), format!("{queue}-poison")]).collect();
    let waited_at: Names =
        functions().iter().filter(|f| f.is("queueTrigger")).map(|f| f.text("queueName").to_owned()).collect();
    assert_eq!(waited_at, with_poison);
}

#[test]
fn every_container_of_the_code_and_of_the_triggers_is_made() {
    let containers = list("infra/modules/storage.bicep", "containers");
    let state =
        [names::ACTIVE, names::INSTANCES, names::PENDING, names::CONTENT_CHECKS, names::RECALLS, names::TRACKING];
    for container in state.into_iter().chain([layout::CAMPAIGNS, "uploads"]) {
        assert!(containers.contains(container), "{container}");
    }
    assert!(watched_by_triggers().is_subset(&containers));
}

fn watched_by_triggers() -> Names {
    let container = |f: &Function| f.text("path").split('/').next().unwrap().to_owned();
    functions().iter().filter(|f| f.is("blobTrigger")).map(container).collect()
}

#[test]
fn event_grid_watches_what_the_blob_triggers_would_and_they_are_off() {
    assert_eq!(list("infra/modules/events.bicep", "watched"), watched_by_triggers());

    let app = read("infra/modules/app.bicep");
    let switched_off = |line: &str| {
        let name = line.trim().strip_prefix("'AzureWebJobs.")?.strip_suffix(".Disabled': 'true'")?;
        Some(name.to_owned())
    };
    let off: Names = app.lines().filter_map(switched_off).collect();
    let triggers: Names = functions().iter().filter(|f| f.is("blobTrigger")).map(|f| f.name.clone()).collect();
    assert_eq!(off, triggers);
}

#[test]
fn every_trigger_reaches_storage_by_the_identity_in_the_settings() {
    for function in functions().iter().filter(|f| f.is("queueTrigger") || f.is("blobTrigger")) {
        assert_eq!(function.text("connection"), "AzureWebJobsStorage", "{}", function.name);
    }
    let app = read("infra/modules/app.bicep");
    for setting in ["blobServiceUri", "queueServiceUri", "tableServiceUri", "credential", "clientId"] {
        assert!(app.contains(&format!("AzureWebJobsStorage__{setting}: ")), "{setting}");
    }
}

#[test]
fn people_sign_in_for_whatever_no_function_key_guards() {
    let text = read("infra/modules/authentication.bicep");
    assert!(text.contains("excludedPaths: [\n        '/api/*'\n      ]"));
    for function in functions().iter().filter(|f| f.is("httpTrigger")) {
        let in_api = function.text("route").starts_with("api/");
        let has_key = function.text("authLevel") == "function";
        // The description of the API says nothing that a stranger may not know.
        assert!(in_api == has_key || function.name == "openapi", "{}", function.name);
    }
}

#[test]
fn alerts_ask_for_functions_that_there_are() {
    let alerts = read("infra/modules/alerts.bicep");
    assert!(alerts.contains(r#"name == "sweeper""#) && functions().iter().any(|f| f.name == "sweeper"));
    assert!(alerts.contains(r#"name endswith "-poison""#));
    for function in functions().iter().filter(|f| f.is("queueTrigger")) {
        let is_of_poison = function.text("queueName").ends_with("-poison");
        assert_eq!(function.name.ends_with("-poison"), is_of_poison, "{}", function.name);
    }
}

#[test]
fn azd_deploys_the_package_into_the_app_of_the_template() {
    let azd: Value = serde_norway::from_str(&read("azure.yaml")).unwrap();
    let (service, settings) = azd["services"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(settings["host"], "function");
    assert!(read("infra/modules/app.bicep").contains(&format!("'azd-service-name': '{service}'")));
    for system in ["posix", "windows"] {
        let command = settings["hooks"]["prepackage"][system]["run"].as_str().unwrap();
        let folder = command.split_whitespace().last().unwrap();
        assert_eq!(settings["dist"], format!("{folder}.zip"));
    }
}

#[test]
fn the_documentation_explains_every_value_that_can_be_set() {
    let text = read("infra/main.bicepparam");
    let variables = text.split("readEnvironmentVariable('").skip(1).map(|rest| rest.split('\'').next().unwrap());
    let document = read("docs/deploy.md");
    for variable in variables {
        assert!(document.contains(&format!("`{variable}`")), "{variable}");
    }
}

#[test]
fn no_template_asks_for_a_key() {
    let modules = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/modules")).unwrap();
    let files = modules.map(|file| format!("infra/modules/{}", file.unwrap().file_name().to_str().unwrap()));
    for file in files.chain(["infra/main.bicep".to_owned()]) {
        let text = read(&file);
        for way in ["listKeys", "listAccountSas", "listServiceSas", "AccountKey=", "listQueryKeys", "listAdminKeys"] {
            assert!(!text.contains(way), "{file} uses {way}");
        }
    }
}
