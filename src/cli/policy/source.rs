//! Where a policy comes from: its file and those of its services, named one by one, by folder, or by a control plane's
//! file.

use std::path::{Path, PathBuf};

use crate::cli::args::PolicyFiles;
use crate::cli::config::{Kind, files, kind};
use crate::cli::failure::{Exit, Failure};
use crate::config::policy::PolicyConfig;
use crate::config::{ConfigError, ServiceConfig, reader};
use crate::policy::Rules;

/// A policy file and the service files it is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) policy: PathBuf,
    pub(super) services: Vec<PathBuf>,
}

impl Source {
    /// The one policy among `paths`, with the services among them. Other configuration is passed over.
    pub(super) fn among(paths: &[PathBuf]) -> Result<Self, Failure> {
        let files = files(paths)?;
        let kinds: Vec<(PathBuf, Option<Kind>)> =
            files.into_iter().map(|file| (file.clone(), kind_of(&file))).collect();
        let of = |wanted| kinds.iter().filter(move |(_, kind)| *kind == Some(wanted)).map(|(file, _)| file.clone());
        let policies: Vec<PathBuf> = of(Kind::Policy).collect();
        match policies.as_slice() {
            [policy] => Ok(Self { policy: policy.clone(), services: of(Kind::Service).collect() }),
            [] => Err(Failure::new(Exit::Usage, "there is no policy among the files", "name a policy file too")),
            several => {
                let names: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
                let what = format!("there are several policies: {}", names.join(", "));
                Err(Failure::new(Exit::Usage, what, "name the files instead of the folder"))
            }
        }
    }

    /// What a control plane's file names. Nothing else in it is looked at.
    pub(super) fn of_control(file: &Path) -> Result<Self, Failure> {
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        let text = reader::read_file(file).map_err(|error| mistaken(&error))?;
        let read = reader::parse(file, &text, |root| {
            root.ignore_unknown();
            let services = root.required_list::<PathBuf>("services");
            let services = services.into_iter().map(|path| folder.join(path)).collect();
            Some(Self { policy: root.required_path("policy")?, services })
        });
        read.map_err(|error| mistaken(&error))
    }

    /// A policy file, a folder, or a control plane's file.
    pub(super) fn of_path(path: &Path, services: &[PathBuf]) -> Result<Self, Failure> {
        if !path.is_dir() && kind_of(path) == Some(Kind::Control) {
            return Self::of_control(path);
        }
        let paths: Vec<PathBuf> = std::iter::once(path.to_owned()).chain(services.iter().cloned()).collect();
        Self::among(&paths)
    }

    /// What the flags name; `None`: they name nothing.
    pub(super) fn of_flags(flags: &PolicyFiles) -> Result<Option<Self>, Failure> {
        match &flags.config {
            Some(file) => Self::of_control(file).map(Some),
            None if flags.paths.is_empty() => Ok(None),
            None => Self::among(&flags.paths).map(Some),
        }
    }

    /// All of it, to be checked.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        std::iter::once(self.policy.clone()).chain(self.services.iter().cloned()).collect()
    }

    /// The rules, if the files have no mistake.
    pub(super) fn load(&self) -> Result<Rules, Failure> {
        let mut mistakes = Vec::new();
        let mut services = Vec::new();
        for file in &self.services {
            match ServiceConfig::load(file) {
                Ok(service) => services.push(service),
                Err(error) => mistakes.extend(error.mistakes),
            }
        }
        let policy = PolicyConfig::load(&self.policy, &services);
        match policy {
            Ok(policy) if mistakes.is_empty() => Ok(Rules::new(0, policy, services)),
            Ok(_) => Err(mistaken(&ConfigError { mistakes })),
            Err(error) => {
                mistakes.extend(error.mistakes);
                Err(mistaken(&ConfigError { mistakes }))
            }
        }
    }
}

fn kind_of(file: &Path) -> Option<Kind> {
    reader::read_file(file).ok().and_then(|text| kind(&text))
}

pub(super) fn mistaken(error: &ConfigError) -> Failure {
    Failure::new(Exit::Unverified, error.to_string(), "correct them all: a policy with a mistake is never applied")
}
