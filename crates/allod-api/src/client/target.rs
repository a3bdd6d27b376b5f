//! Which app or service a name means: `app/service`, or a bare name where only one thing bears it.

use allod_node::view::{App, Service};

use super::Result;
use super::error::Error;

/// What a command's argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The part before the slash, or all of it.
    pub name: String,
    /// The part after the slash.
    pub service: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The app.
    pub app: &'a App,
    /// The service; nothing where the whole app is meant.
    pub service: Option<&'a Service>,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, service) = match text.split_once('/') {
            Some((name, service)) => (name, Some(service.to_owned())),
            None => (text, None),
        };
        let is_bad = |part: &str| part.is_empty() || part.contains('/');
        if is_bad(name) || service.as_deref().is_some_and(is_bad) {
            return Err("write it as APP or APP/SERVICE".into());
        }
        Ok(Self {
            name: name.to_owned(),
            service,
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.service {
            Some(service) => write!(f, "{}/{service}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The app, or the service, that is meant. A bare name means an app first where the service of that name is that app's
/// own, so that `allod run --name web` leaves `web` unambiguous.
///
/// # Errors
/// Where nothing bears the name, or several things do.
pub fn app_of<'a>(apps: &'a [App], target: &Target) -> Result<Wanted<'a>> {
    let named = apps.iter().find(|app| is_named(app, &target.name));
    if let Some(service) = &target.service {
        let app = named.ok_or_else(|| missing("app", &target.name))?;
        let found = app.services.iter().find(|found| found.name == *service);
        let found = found.ok_or_else(|| missing("service", &target.to_string()))?;
        return Ok(Wanted {
            app,
            service: Some(found),
        });
    }
    let elsewhere: Vec<Wanted<'a>> = apps
        .iter()
        .filter(|app| named.is_none_or(|named| named.app != app.app))
        .flat_map(|app| app.services.iter().map(move |service| (app, service)))
        .filter(|(_, service)| service.name == target.name)
        .map(|(app, service)| Wanted {
            app,
            service: Some(service),
        })
        .collect();
    let whole = named.map(|app| Wanted { app, service: None });
    let mut all = whole.into_iter().chain(elsewhere);
    match (all.next(), all.next()) {
        (None, _) => Err(missing("app or service", &target.name)),
        (Some(one), None) => Ok(one),
        (Some(first), Some(second)) => {
            let candidates = [first, second]
                .into_iter()
                .chain(all)
                .map(|w| w.to_string());
            Err(Error::Ambiguous {
                name: target.name.clone(),
                candidates: candidates.collect(),
            })
        }
    }
}

/// The one service that is meant: an app of one service stands for it.
///
/// # Errors
/// Where nothing bears the name, or several services could be meant.
pub fn service_of<'a>(apps: &'a [App], target: &Target) -> Result<(&'a App, &'a Service)> {
    let wanted = app_of(apps, target)?;
    let app = wanted.app;
    if let Some(service) = wanted.service {
        return Ok((app, service));
    }
    // An app's name also means its service of the same name.
    let same = app.services.iter().find(|found| found.name == target.name);
    match (same, app.services.as_slice()) {
        (Some(service), _) | (None, [service]) => Ok((app, service)),
        (None, services) => {
            let candidates = services.iter().map(|s| format!("{}/{}", app.name, s.name));
            Err(Error::Ambiguous {
                name: target.to_string(),
                candidates: candidates.collect(),
            })
        }
    }
}

impl std::fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.service {
            Some(service) => write!(f, "{}/{}", self.app.name, service.name),
            None => f.write_str(&self.app.name),
        }
    }
}

fn is_named(app: &App, name: &str) -> bool {
    app.name == name || app.app.to_string() == name
}

fn missing(kind: &'static str, name: &str) -> Error {
    Error::NotFound {
        kind,
        name: name.chars().take(120).collect(),
    }
}

#[cfg(test)]
mod tests;
