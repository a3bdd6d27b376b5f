//! `allod run`: one image as an app.

use std::path::PathBuf;
use std::time::Instant;

use allod_api::client::{Client, Error, Goal, Result, knock, publish_on_loopback};
use allod_api::compose::{Lowered, Single, single};
use allod_node::view;

use super::launch;
use super::source::Whereabouts;
use crate::context::{Context, usage};
use crate::render::views;

/// Failures in a row after which a single image is given up.
const FAILURES_MAX: u32 = 3;

/// Run an image, and wait until it answers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, as `docker run` takes it.
    #[arg(required_unless_present = "image_file")]
    image: Option<String>,
    /// A docker-save or OCI archive to take the image from.
    #[arg(long, value_name = "TAR")]
    image_file: Option<PathBuf>,
    /// A port that it listens on: 80, 8080:80, 53/udp; may be repeated.
    #[arg(short, long, value_name = "PORT")]
    port: Vec<String>,
    /// The app's name; after the image where it is not given.
    #[arg(long)]
    name: Option<String>,
    /// A variable, as NAME=value; may be repeated.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A volume that outlives it, as name:/path; may be repeated.
    #[arg(short, long, value_name = "NAME:/PATH")]
    volume: Vec<String>,
    /// How many replicas.
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Two of it never run at once, also where its machine is cut off.
    #[arg(long)]
    exclusive: bool,
    /// CPUs of each, such as 0.5.
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// Memory of each, such as 512m.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Scratch space of each, such as 2g.
    #[arg(long, value_name = "SIZE")]
    storage: Option<String>,
    #[command(flatten)]
    whereabouts: Whereabouts,
    /// Do not wait until it answers.
    #[arg(long)]
    no_wait: bool,
    /// The command to run in place of the image's.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let is_waited_for = !args.no_wait;
    let lowered = lower(context, &client, args).await?;
    let name = &lowered.manifest.app;
    if client.apps().await?.iter().any(|app| app.name == *name) {
        return Err(Error::NameTaken { name: name.clone() });
    }
    let goal = is_waited_for.then(|| Goal {
        failures_max: Some(FAILURES_MAX),
        ..Goal::default()
    });
    let began = Instant::now();
    let mut app = launch::launch(context, &client, lowered, None, goal).await?;
    if is_waited_for {
        app = answered(context, &client, app, began).await?;
    }
    context.show(&app, views::started);
    Ok(())
}

async fn lower(context: &Context, client: &Client, args: Args) -> Result<Lowered> {
    let (image, archive_digest) = match &args.image_file {
        None => (args.image.unwrap_or_default(), None),
        Some(path) => {
            context.tell(&format!("handing over {}", path.display()));
            let imported = client.import_images(path).await?;
            let (name, digest) = chosen(&imported, args.image.as_deref())?;
            let stem = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            (name.or(stem).unwrap_or_default(), Some(digest))
        }
    };
    let mut lowered = single(&Single {
        image,
        archive_digest,
        name: args.name,
        ports: args.port,
        env: args.env,
        volumes: args.volume,
        command: args.command,
        replicas: args.replicas,
        is_exclusive: args.exclusive,
        cpus: args.cpus,
        memory: args.memory,
        storage: args.storage,
    })
    .map_err(Error::Spec)?;
    args.whereabouts.constrain(&mut lowered)?;
    publish_on_loopback(&mut lowered.manifest);
    Ok(lowered)
}

/// The image of an archive that is meant: the only one, or the one that bears the name.
fn chosen(imported: &view::Imported, wanted: Option<&str>) -> Result<(Option<String>, String)> {
    let all = || imported.iter();
    if let Some(wanted) = wanted {
        let found = all().find(|(digest, names)| {
            *digest == wanted
                || names
                    .iter()
                    .any(|name| name == wanted || name.ends_with(&format!("/{wanted}")))
        });
        return match found {
            Some((digest, _)) => Ok((Some(wanted.to_owned()), digest.clone())),
            None => Err(Error::NotFound {
                kind: "image in the archive",
                name: wanted.to_owned(),
            }),
        };
    }
    match (imported.len(), imported.first_key_value()) {
        (1, Some((digest, names))) => Ok((names.first().cloned(), digest.clone())),
        (0, _) | (_, None) => Err(usage(
            "the archive holds no image",
            "make it with `docker save IMAGE` or `skopeo copy … oci-archive:FILE`",
        )),
        _ => {
            let names: Vec<String> = imported.values().flatten().cloned().collect();
            Err(usage(
                format!("the archive holds several images: {}", names.join(", ")),
                "name one of them: allod run IMAGE --image-file TAR",
            ))
        }
    }
}

/// Knocks at the app's own port until it answers; then it is there for everybody.
async fn answered(
    context: &Context,
    client: &Client,
    app: view::App,
    began: Instant,
) -> Result<view::App> {
    let plain = |app: &view::App| {
        let published = app.services.iter().flat_map(|service| &service.published);
        published
            .clone()
            .find(|url| url.starts_with("http://"))
            .cloned()
    };
    let has_port = app.services.iter().any(|service| !service.urls.is_empty());
    let Some(url) = plain(&app) else {
        // A port that could not be opened says so where its address would be.
        let failed = app
            .services
            .iter()
            .flat_map(|service| &service.published)
            .find(|published| !published.contains("://"));
        if let (true, Some(failed)) = (has_port, failed) {
            context.tell(&format!(
                "the port of this machine could not be opened: {failed}"
            ));
        }
        return Ok(app);
    };
    let left = context.timeout().saturating_sub(began.elapsed());
    match knock(&url, left).await {
        Ok(()) => Ok(app),
        Err(seen) => Err(Error::NotReady {
            lines: client.last_lines(&app, None).await,
            app: app.name,
            seconds: Some(context.timeout().as_secs()),
            cause: format!("it is ready, and {url} does not answer: {seen}"),
        }),
    }
}
