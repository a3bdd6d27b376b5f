//! A home keeps its promises to the people who point it somewhere.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

fn home() -> (TempDir, Home) {
    let dir = TempDir::new().unwrap();
    let home = Home::at(&dir.path().join("h")).unwrap();
    (dir, home)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn network() -> allod_state::NetworkId {
    allod_state::NetworkId([7; 32])
}

#[test]
fn allod_home_holds_everything() {
    let home = Home::choose(Some("/srv/one".into()), true).unwrap();
    for path in [
        home.account_keyfile().path().to_owned(),
        home.node_keyfile().path().to_owned(),
        home.node_dir(),
        home.root_dir(),
        home.run_dir().to_owned(),
        home.logs_dir().to_owned(),
        home.config_file(),
        home.api.clone(),
        home.state.clone(),
    ] {
        assert!(path.starts_with("/srv/one"), "{}", path.display());
    }
}

#[test]
fn root_gets_the_systems_directories() {
    let home = Home::choose(None, true).unwrap();
    assert_eq!(home.node_dir(), Path::new("/var/lib/allod/node"));
    assert_eq!(
        home.account_keyfile().path(),
        Path::new("/etc/allod/identity.age")
    );
    assert_eq!(home.run_dir(), Path::new("/run/allod"));
}

#[test]
fn a_relative_home_becomes_absolute_and_an_empty_one_is_refused() {
    let home = Home::choose(Some("here".into()), false).unwrap();
    assert!(home.run_dir().is_absolute());
    let error = Home::choose(Some("".into()), false).unwrap_err();
    assert!(matches!(error, HomeError::Empty));
}

#[test]
fn prepare_makes_private_places_private_and_can_run_twice() {
    let (dir, home) = home();
    home.prepare().unwrap();
    home.prepare().unwrap();
    assert_eq!(mode(&dir.path().join("h")), MODE_PASSABLE);
    assert_eq!(mode(&home.root_dir()), MODE_PASSABLE);
    assert_eq!(mode(&home.node_dir()), MODE_PRIVATE);
    assert_eq!(mode(home.logs_dir()), MODE_PRIVATE);
}

#[test]
fn the_installation_id_is_drawn_once_per_home() {
    let (_dir, one) = home();
    let (_other, two) = home();
    one.prepare().unwrap();
    two.prepare().unwrap();
    let id = one.installation().unwrap();
    assert_eq!(id, one.installation().unwrap());
    assert_ne!(id, two.installation().unwrap());
    assert_eq!(id.to_string().len(), 8);
    assert_eq!(InstallationId::parse(&id.to_string()), Some(id));
}

#[test]
fn commands_that_start_together_agree_on_the_installation_id() {
    let (_dir, home) = home();
    fs::create_dir_all(&home.data).unwrap();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| home.installation().unwrap()))
            .collect();
        asked
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    let left = fs::read_dir(&home.data).unwrap().count();
    assert_eq!(left, 1, "a half-written file stayed behind");
}

#[test]
fn a_broken_installation_id_is_not_replaced() {
    let (_dir, home) = home();
    home.prepare().unwrap();
    fs::write(home.data.join("installation"), "XYZ").unwrap();
    assert!(matches!(
        home.installation().unwrap_err(),
        HomeError::BadInstallation { .. }
    ));
}

#[test]
fn a_home_too_deep_for_sockets_is_refused_before_anything_is_made() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("d".repeat(90));
    let error = Home::at(&deep).unwrap().prepare().unwrap_err();
    assert!(matches!(error, HomeError::TooLong { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("set ALLOD_HOME to a shorter path")
    );
    assert!(!deep.exists());
}

#[test]
fn the_longest_allowed_socket_path_really_binds() {
    let (_dir, home) = home();
    home.prepare().unwrap();
    let room = SOCKET_PATH_BYTES_MAX - home.run_dir().as_os_str().len() - 1;
    let longest = home.socket(&"s".repeat(room)).unwrap();
    std::os::unix::net::UnixListener::bind(&longest).unwrap();
    let error = home.socket(&"s".repeat(room + 1)).unwrap_err();
    assert!(matches!(error, HomeError::TooLong { .. }));
}

#[test]
fn a_file_in_the_way_is_named() {
    let (dir, home) = home();
    fs::write(dir.path().join("h"), "").unwrap();
    let error = home.prepare().unwrap_err();
    assert!(error.to_string().contains("is not a directory"), "{error}");
}

#[test]
fn the_running_api_is_found_until_its_process_is_gone() {
    let (_dir, home) = home();
    home.prepare().unwrap();
    assert_eq!(home.running_api().unwrap(), None);
    let api = RunningApi::of_this_process("http://127.0.0.1:7400".into(), network());
    home.announce_api(&api).unwrap();
    assert_eq!(home.running_api().unwrap(), Some(api.clone()));

    // The same number, but another process than the one that announced itself.
    let stale = RunningApi {
        pid_started: api.pid_started + 1,
        ..api.clone()
    };
    home.announce_api(&stale).unwrap();
    assert_eq!(home.running_api().unwrap(), None);

    home.announce_api(&api).unwrap();
    home.withdraw_api().unwrap();
    home.withdraw_api().unwrap();
    assert_eq!(home.running_api().unwrap(), None);
}

#[test]
fn a_broken_api_record_is_an_error_not_an_absent_api() {
    let (_dir, home) = home();
    home.prepare().unwrap();
    fs::write(&home.api, "{").unwrap();
    assert!(matches!(
        home.running_api().unwrap_err(),
        HomeError::BadApiRecord { .. }
    ));
}

#[test]
fn large_files_and_pipes_are_not_read() {
    let (_dir, home) = home();
    home.prepare().unwrap();
    let path = home.data.join("large");
    fs::write(&path, [0; 65]).unwrap();
    assert!(read_bounded(&path, 64).is_err());
    assert_eq!(read_bounded(&path, 65).unwrap().len(), 65);
    let pipe = home.data.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert!(read_bounded(&pipe, 64).is_err());
}

#[test]
fn giving_the_node_directory_away_does_not_follow_links() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (dir, home) = home();
    home.prepare().unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, "").unwrap();
    let inside = home.node_dir().join("deep/file");
    fs::create_dir(inside.parent().unwrap()).unwrap();
    fs::write(&inside, "").unwrap();
    std::os::unix::fs::symlink(&outside, home.node_dir().join("link")).unwrap();
    home.give_node_dir(65_534, 65_534).unwrap();
    assert_eq!(fs::metadata(home.node_dir()).unwrap().uid(), 65_534);
    assert_eq!(fs::metadata(&inside).unwrap().uid(), 65_534);
    assert_eq!(fs::metadata(&outside).unwrap().uid(), 0);
}
