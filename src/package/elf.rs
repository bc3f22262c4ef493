//! What an executable asks of the machine it runs on, read from its ELF headers, and whether the Functions images have it.
//!
//! A host that cannot start its handler says nothing for two minutes and then ends; here it is said before anything is
//! deployed.

use std::{collections::BTreeMap, fmt};

use ::elf::{ElfBytes, ParseError, abi, endian::LittleEndian, file::Class, gnu_symver::VerNeedIterator};

/// The oldest C library that a Functions image has (Debian 11's).
pub const GLIBC_FLOOR: Glibc = Glibc::Version(2, 31);
/// Bytes. A release build stays below it: more is a debug build, or one that kept its symbols.
pub const SIZE_LIMIT: usize = 30_000_000;

/// What a Functions image has besides the loader.
const LIBRARIES: [&str; 6] = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libgcc_s.so.1"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
    /// By its number in ELF.
    Other(u16),
}

impl Machine {
    fn loader(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => Some("/lib64/ld-linux-x86-64.so.2"),
            Self::Aarch64 => Some("/lib/ld-linux-aarch64.so.1"),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.write_str("x86_64"),
            Self::Aarch64 => f.write_str("aarch64"),
            Self::Other(number) => write!(f, "another architecture (ELF machine {number})"),
        }
    }
}

/// A version of the C library's interface that symbols are bound to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Glibc {
    Version(u32, u32),
    /// Something that no number places, such as `GLIBC_PRIVATE`: newer than any floor, since nobody promises it.
    Unplaced(String),
}

impl Glibc {
    /// `GLIBC_2.34`, `GLIBC_2.2.5`; nothing where the version is not one of glibc's.
    fn parse(name: &str) -> Option<Self> {
        let version = name.strip_prefix("GLIBC_")?;
        let mut numbers = version.split('.').map(str::parse);
        Some(match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Self::Version(major, minor),
            _ => Self::Unplaced(name.to_owned()),
        })
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(major, minor) => write!(f, "{major}.{minor}"),
            Self::Unplaced(name) => f.write_str(name),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// Bytes.
    pub size: usize,
    pub machine: Machine,
    /// Libraries that the loader looks for; none if everything is linked in.
    pub libraries: Vec<String>,
    loader: Option<String>,
    /// Each version of glibc that it cannot do without, and the symbols that are bound to it.
    glibc: BTreeMap<Glibc, Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum NoExecutable {
    #[error("it is no ELF executable of a 64-bit little-endian machine, or is cut off: {0}")]
    Unreadable(#[from] ParseError),
    #[error("it is a part of a program, or a library: nothing says where it starts")]
    NoStart,
    #[error("it needs libc.so.6, and does not say which version")]
    Unversioned,
}

/// Why the Functions images cannot run an executable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is made for {found}; {wanted} is wanted")]
    Machine { found: Machine, wanted: Machine },
    #[error("it needs {} and names no loader that would load it", .0.join(", "))]
    NoLoader(Vec<String>),
    #[error("its loader {0} is not there")]
    Loader(String),
    #[error("it needs {}, which is not there", .0.join(", "))]
    Libraries(Vec<String>),
    #[error("it needs glibc {newest}; {GLIBC_FLOOR} is there. Too new: {}", .symbols.join(", "))]
    Glibc { newest: Glibc, symbols: Vec<String> },
    #[error("it has {:.1} MB, and the limit is {:.0} MB: a debug build, or one that kept its symbols",
            megabytes(*.0), megabytes(SIZE_LIMIT))]
    Large(usize),
}

/// Of a million bytes each.
pub fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

impl Executable {
    pub fn read(file: &[u8]) -> Result<Self, NoExecutable> {
        let parsed = ElfBytes::<LittleEndian>::minimal_parse(file)?;
        let header = parsed.ehdr;
        if header.class != Class::ELF64 {
            return Err(ParseError::UnsupportedElfClass(abi::ELFCLASS32).into());
        }
        if !matches!(header.e_type, abi::ET_EXEC | abi::ET_DYN) || header.e_entry == 0 {
            return Err(NoExecutable::NoStart);
        }
        let mut loader = None;
        for segment in parsed.segments().into_iter().flatten() {
            // Whatever is loaded must be in the file.
            let data = parsed.segment_data(&segment)?;
            if segment.p_type == abi::PT_INTERP {
                let path = data.strip_suffix(&[0]).unwrap_or(data);
                loader = Some(String::from_utf8_lossy(path).into_owned());
            }
        }
        let libraries = libraries(&parsed)?;
        let glibc = glibc(&parsed)?;
        if glibc.is_empty() && libraries.iter().any(|library| library == "libc.so.6") {
            return Err(NoExecutable::Unversioned);
        }
        let machine = match header.e_machine {
            abi::EM_X86_64 => Machine::X86_64,
            abi::EM_AARCH64 => Machine::Aarch64,
            other => Machine::Other(other),
        };
        Ok(Self { size: file.len(), machine, libraries, loader, glibc })
    }

    /// The oldest glibc that it runs with; nothing if it needs none.
    pub fn glibc(&self) -> Option<&Glibc> {
        self.glibc.last_key_value().map(|(version, _)| version)
    }

    /// Everything that keeps it from running on the Functions images of a machine.
    pub fn unfit(&self, wanted: Machine) -> Vec<Unfit> {
        let mut found = Vec::new();
        if self.machine != wanted {
            found.push(Unfit::Machine { found: self.machine, wanted });
        }
        match &self.loader {
            None if !self.libraries.is_empty() => found.push(Unfit::NoLoader(self.libraries.clone())),
            Some(loader) if self.machine.loader() != Some(loader) => found.push(Unfit::Loader(loader.clone())),
            _ => {}
        }
        let strangers: Vec<String> = self.libraries.iter().filter(|name| !self.has(name)).cloned().collect();
        if !strangers.is_empty() {
            found.push(Unfit::Libraries(strangers));
        }
        if let Some(newest) = self.glibc().filter(|newest| **newest > GLIBC_FLOOR) {
            let too_new = self.glibc.iter().filter(|(version, _)| **version > GLIBC_FLOOR);
            let symbols = too_new.map(|(version, symbols)| format!("{version} ({})", symbols.join(" "))).collect();
            found.push(Unfit::Glibc { newest: newest.clone(), symbols });
        }
        if self.size > SIZE_LIMIT {
            found.push(Unfit::Large(self.size));
        }
        found
    }

    /// Some linkers list the loader among the libraries.
    fn has(&self, library: &str) -> bool {
        let loader = self.machine.loader().and_then(|path| path.rsplit('/').next());
        LIBRARIES.contains(&library) || loader == Some(library)
    }
}

fn libraries(file: &ElfBytes<'_, LittleEndian>) -> Result<Vec<String>, ParseError> {
    let common = file.find_common_data()?;
    let (Some(dynamic), Some(strings)) = (common.dynamic, common.dynsyms_strs) else { return Ok(Vec::new()) };
    let needed = dynamic.iter().filter(|entry| entry.d_tag == abi::DT_NEEDED);
    needed.map(|entry| Ok(strings.get(usize::try_from(entry.d_val())?)?.to_owned())).collect()
}

/// The versions are those that the loader looks for, whether or not a symbol is bound to them. It does not insist on a
/// weak one.
fn glibc(file: &ElfBytes<'_, LittleEndian>) -> Result<BTreeMap<Glibc, Vec<String>>, ParseError> {
    let mut versions = BTreeMap::new();
    let Some(sections) = file.section_headers() else { return Ok(versions) };
    let Some(header) = sections.iter().find(|section| section.sh_type == abi::SHT_GNU_VERNEED) else {
        return Ok(versions);
    };
    let strings = file.section_data_as_strtab(&sections.get(header.sh_link as usize)?)?;
    let (data, _) = file.section_data(&header)?;
    for (_, names) in VerNeedIterator::new(LittleEndian, Class::ELF64, header.sh_info.into(), 0, data) {
        for name in names.filter(|name| name.vna_flags & abi::VER_FLG_WEAK == 0) {
            if let Some(version) = Glibc::parse(strings.get(name.vna_name as usize)?) {
                versions.entry(version).or_default();
            }
        }
    }
    if let (Some((symbols, names)), Some(bound)) = (file.dynamic_symbol_table()?, file.symbol_version_table()?) {
        for (index, symbol) in symbols.iter().enumerate() {
            let Some(requirement) = bound.get_requirement(index)? else { continue };
            if let Some(users) = Glibc::parse(requirement.name).and_then(|version| versions.get_mut(&version)) {
                users.push(names.get(symbol.st_name as usize)?.to_owned());
            }
        }
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers_and_what_has_none_is_newest() {
        let parsed = ["GLIBC_2.2.5", "GLIBC_2.4", "GLIBC_2.31", "GLIBC_2.100", "GLIBC_ABI_DT_RELR"].map(Glibc::parse);
        assert!(parsed.is_sorted(), "{parsed:?}");
        assert!(parsed.iter().all(Option::is_some));
        assert_eq!(Glibc::parse("GCC_3.0"), None);
    }
}
