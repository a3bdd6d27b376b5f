//! Names mean what people expect, and nothing when they could mean two things.

use allod_node::view::{App, Service};
use allod_state::{AppId, Credits};

use super::{Target, app_of, service_of};
use crate::client::{Error, Exit};

fn app(number: u8, name: &str, services: &[&str]) -> App {
    let service = |name: &&str| Service {
        name: (*name).to_owned(),
        image: String::new(),
        wanted: 1,
        ready: 1,
        is_exclusive: false,
        is_halted: false,
        urls: Vec::new(),
        published: Vec::new(),
        replicas: Vec::new(),
    };
    App {
        app: AppId([number; 32]),
        name: name.to_owned(),
        revision: 1,
        revisions: vec![1],
        services: services.iter().map(service).collect(),
        price_per_hour: Credits::ZERO,
    }
}

fn apps() -> Vec<App> {
    vec![
        app(1, "guestbook", &["redis", "web"]),
        app(2, "nginx", &["nginx"]),
        app(3, "shop", &["redis", "shop"]),
    ]
}

fn found(name: &str) -> Result<String, Error> {
    let apps = apps();
    app_of(&apps, &name.parse().unwrap()).map(|wanted| wanted.to_string())
}

fn found_service(name: &str) -> Result<String, Error> {
    let apps = apps();
    let (app, service) = service_of(&apps, &name.parse().unwrap())?;
    Ok(format!("{}/{}", app.name, service.name))
}

#[test]
fn names_mean_apps_and_bare_names_mean_the_one_service_that_bears_them() {
    assert_eq!(found("guestbook").unwrap(), "guestbook");
    assert_eq!(found("guestbook/web").unwrap(), "guestbook/web");
    assert_eq!(found("web").unwrap(), "guestbook/web");
    assert_eq!(found("nginx").unwrap(), "nginx");
    assert_eq!(found(&AppId([1; 32]).to_string()).unwrap(), "guestbook");
    assert_eq!(found_service("web").unwrap(), "guestbook/web");
    assert_eq!(found_service("nginx").unwrap(), "nginx/nginx");
    assert_eq!(found_service("shop").unwrap(), "shop/shop");
}

#[test]
fn what_could_be_two_things_is_neither() {
    let error = found("redis").unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(
        error.to_string().contains("guestbook/redis, shop/redis"),
        "{error}"
    );
    assert!(error.help().contains("guestbook/redis"));
    let error = found_service("guestbook").unwrap_err();
    assert!(
        error.to_string().contains("guestbook/redis, guestbook/web"),
        "{error}"
    );
    let mut all = apps();
    all.push(app(4, "web", &["server"]));
    let error = app_of(&all, &"web".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("web, guestbook/web"), "{error}");
}

#[test]
fn what_is_not_there_is_not_found() {
    for name in ["nosuch", "guestbook/nosuch", "nosuch/web"] {
        assert_eq!(found(name).unwrap_err().exit(), Exit::NotFound, "{name}");
    }
}

#[test]
fn names_have_at_most_one_slash() {
    for text in ["", "/", "a/", "/b", "a/b/c"] {
        assert!(text.parse::<Target>().is_err(), "{text}");
    }
}
