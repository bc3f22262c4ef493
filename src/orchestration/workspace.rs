//! Where a run writes, so that a run that fails or dies leaves the last good one as it was.
//!
//! A run works in `campaigns/.<id>.staging` and, when everything is there, takes the place of `campaigns/<id>` by
//! renaming. If the process dies
//! * before the swap: the staging folder is left, the next run of the campaign removes it;
//! * between the swap's two renames: the old run stands as `.<id>.old`, the next run puts it back first.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    domain::{id::CampaignId, problem::Problem},
    orchestration::layout,
    store::Files,
};

#[derive(Debug)]
pub struct Workspace {
    staging: PathBuf,
    target: PathBuf,
    old: PathBuf,
    committed: bool,
    /// Held for as long as the workspace lives; the operating system lets go of it when the process dies.
    _lock: File,
}

impl Workspace {
    /// Claims the campaign's folder under `out`. Nothing of an earlier run is touched yet.
    pub fn claim(out: &Path, id: &CampaignId) -> Result<Self, Error> {
        let campaigns = out.join(layout::CAMPAIGNS);
        let lock = claim_lock(&campaigns, id).map_err(|error| {
            Problem::new(
                format!("the output folder cannot be used: {error}"),
                "name a folder that you may write to with --out, or wait for the other run to end",
            )
            .in_file(out)
        })?;
        let workspace = Self {
            staging: campaigns.join(format!(".{id}.staging")),
            target: campaigns.join(id.as_str()),
            old: campaigns.join(format!(".{id}.old")),
            committed: false,
            _lock: lock,
        };
        workspace.recover().map_err(|error| Error::failed("what an interrupted run left cannot be removed", error))?;
        Ok(workspace)
    }

    fn recover(&self) -> io::Result<()> {
        if !self.target.exists() && self.old.exists() {
            fs::rename(&self.old, &self.target)?;
        }
        remove_if_there(&self.old)?;
        remove_if_there(&self.staging)?;
        fs::create_dir(&self.staging)
    }

    /// Where this run writes.
    pub fn staging(&self) -> Files {
        Files::new(&self.staging)
    }

    /// The campaign's folder, as it was before this run or as [`Workspace::commit`] left it.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Puts this run in the place of the one before it.
    pub fn commit(mut self) -> io::Result<PathBuf> {
        if self.target.exists() {
            fs::rename(&self.target, &self.old)?;
        }
        fs::rename(&self.staging, &self.target)?;
        self.committed = true;
        remove_if_there(&self.old)?;
        Ok(self.target.clone())
    }
}

impl Drop for Workspace {
    /// A run that ends without success leaves nothing half-written; that the removal may fail is why
    /// [`Workspace::claim`] tries again.
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.staging);
        }
    }
}

fn claim_lock(campaigns: &Path, id: &CampaignId) -> io::Result<File> {
    fs::create_dir_all(campaigns)?;
    let lock = File::options().create(true).truncate(false).write(true).open(campaigns.join(format!(".{id}.lock")))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another run of this campaign is under way there")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove_if_there(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> CampaignId {
        CampaignId::new("spring").unwrap()
    }

    fn run(out: &Path, content: &str) -> PathBuf {
        let workspace = Workspace::claim(out, &id()).unwrap();
        fs::write(workspace.staging().root().join("a"), content).unwrap();
        workspace.commit().unwrap()
    }

    #[test]
    fn a_run_that_fails_leaves_the_last_good_one_and_nothing_else() {
        let out = tempfile::tempdir().unwrap();
        let target = run(out.path(), "1");
        let failing = Workspace::claim(out.path(), &id()).unwrap();
        fs::write(failing.staging().root().join("a"), "2").unwrap();
        drop(failing);
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "1");
        assert!(!out.path().join("campaigns/.spring.staging").exists());
        run(out.path(), "3");
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "3");
    }

    #[test]
    fn a_death_between_the_two_renames_is_undone_by_the_next_run() {
        let out = tempfile::tempdir().unwrap();
        let target = run(out.path(), "1");
        fs::rename(&target, out.path().join("campaigns/.spring.old")).unwrap();
        drop(Workspace::claim(out.path(), &id()).unwrap());
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "1");
    }

    #[test]
    fn two_runs_of_one_campaign_do_not_mix() {
        let out = tempfile::tempdir().unwrap();
        let first = Workspace::claim(out.path(), &id()).unwrap();
        assert_eq!(Workspace::claim(out.path(), &id()).unwrap_err().exit_code(), 2);
        drop(first);
        Workspace::claim(out.path(), &id()).unwrap();
    }
}
