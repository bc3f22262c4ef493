//! Where a local run works, so that a run that fails leaves the last good one as it was.
//!
//! A run works in `campaigns/.<id>.run`, which holds its files and its state, and when it is complete it takes the
//! place of `campaigns/<id>` by renaming. If the process dies
//! * while it works: the next run goes on in the same folder;
//! * between the swap's two renames: the old run stands as `.<id>.old`; the next run finds the new one complete and
//!   swaps again, or puts the old one back.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    domain::{id::CampaignId, problem::Problem},
    orchestration::layout,
};

#[derive(Debug)]
pub struct Workspace {
    working: PathBuf,
    target: PathBuf,
    old: PathBuf,
    /// Held for as long as the workspace lives; the operating system lets go of it when the process dies.
    _lock: File,
    scratch: PathBuf,
}

/// Where a run of the campaign that is not complete yet keeps its files.
pub fn working(out: &Path, id: &CampaignId) -> PathBuf {
    out.join(layout::CAMPAIGNS).join(format!(".{id}.run"))
}

/// Where a complete one is.
pub fn target(out: &Path, id: &CampaignId) -> PathBuf {
    out.join(layout::CAMPAIGNS).join(id.as_str())
}

/// Whether a process works on the campaign now. (One that begins in the very moment of asking is told to wait.)
pub fn is_claimed(out: &Path, id: &CampaignId) -> bool {
    let lock = File::open(lock(&out.join(layout::CAMPAIGNS), id));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl Workspace {
    /// Claims the campaign's folders under `out`: for as long as it lives no other process works in them.
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
            scratch: campaigns.join(format!(".{id}.tmp")),
            working: working(out, id),
            target: target(out, id),
            old: campaigns.join(format!(".{id}.old")),
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
        remove_if_there(&self.scratch)?;
        fs::create_dir(&self.scratch)
    }

    /// Where a run works; there need not be one.
    pub fn working(&self) -> &Path {
        &self.working
    }

    /// The last complete run's folder; there need not be one.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// For files on their way; on the same file system as the results.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Removes the run that is not complete.
    pub fn discard(&self) -> Result<(), Error> {
        remove_if_there(&self.working).map_err(|error| Error::failed("the unfinished run cannot be removed", error))
    }

    /// Removes all that is kept of the campaign.
    pub fn purge(&self) -> Result<(), Error> {
        let removed = [&self.working, &self.target].into_iter().try_for_each(|folder| remove_if_there(folder));
        removed.map_err(|error| Error::failed("the campaign's folders cannot be removed", error))
    }

    /// Takes the complete run up again.
    pub fn reopen(&self) -> Result<(), Error> {
        fs::rename(&self.target, &self.working)
            .map_err(|error| Error::failed("the run cannot be taken up again", error))
    }

    /// Puts the run that is complete now in the place of the one before it.
    pub fn commit(&self) -> Result<(), Error> {
        let swap = || {
            if self.target.exists() {
                fs::rename(&self.target, &self.old)?;
            }
            fs::rename(&self.working, &self.target)?;
            remove_if_there(&self.old)
        };
        swap().map_err(|error| Error::failed("the results cannot take their place", error))
    }
}

impl Drop for Workspace {
    /// That it may fail is why [`Workspace::claim`] does it too.
    fn drop(&mut self) {
        let _ = remove_if_there(&self.scratch);
    }
}

fn claim_lock(campaigns: &Path, id: &CampaignId) -> io::Result<File> {
    fs::create_dir_all(campaigns)?;
    let lock = File::options().create(true).truncate(false).write(true).open(lock(campaigns, id))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another run of this campaign is under way there")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn lock(campaigns: &Path, id: &CampaignId) -> PathBuf {
    campaigns.join(format!(".{id}.lock"))
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

    fn work(workspace: &Workspace, content: &str) {
        fs::create_dir_all(workspace.working()).unwrap();
        fs::write(workspace.working().join("a"), content).unwrap();
    }

    #[test]
    fn a_run_takes_the_place_of_the_one_before_only_when_it_is_complete() {
        let out = tempfile::tempdir().unwrap();
        let workspace = Workspace::claim(out.path(), &id()).unwrap();
        work(&workspace, "1");
        workspace.commit().unwrap();
        work(&workspace, "2");
        let read = || fs::read_to_string(workspace.target().join("a")).unwrap();
        assert_eq!(read(), "1");
        workspace.discard().unwrap();
        assert!(!workspace.working().exists());
        work(&workspace, "3");
        workspace.commit().unwrap();
        assert_eq!(read(), "3");
    }

    #[test]
    fn a_death_between_the_two_renames_loses_neither_run() {
        let out = tempfile::tempdir().unwrap();
        let workspace = Workspace::claim(out.path(), &id()).unwrap();
        work(&workspace, "1");
        workspace.commit().unwrap();
        work(&workspace, "2");
        fs::rename(workspace.target(), out.path().join("campaigns/.spring.old")).unwrap();
        drop(workspace);
        let workspace = Workspace::claim(out.path(), &id()).unwrap();
        let read = || fs::read_to_string(workspace.target().join("a")).unwrap();
        assert_eq!(read(), "1");
        workspace.commit().unwrap();
        assert_eq!(read(), "2");
        assert!(!out.path().join("campaigns/.spring.old").exists());
    }

    #[test]
    fn two_runs_of_one_campaign_do_not_mix() {
        let out = tempfile::tempdir().unwrap();
        let first = Workspace::claim(out.path(), &id()).unwrap();
        assert_eq!(Workspace::claim(out.path(), &id()).unwrap_err().exit_code(), 2);
        assert!(is_claimed(out.path(), &id()));
        drop(first);
        assert!(!is_claimed(out.path(), &id()));
        Workspace::claim(out.path(), &id()).unwrap();
    }
}
