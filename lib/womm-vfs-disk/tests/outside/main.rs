//! What others do in the folder while it is exported.

#![allow(clippy::unwrap_used)]

mod export;

use export::{Export, cx, named, new_file};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use womm_vfs::vfs::{Create, New, Vfs};
use womm_vfs::{Error, Kind, SetAttributes};
use womm_vfs_disk::DiskVfs;

fn refused<T>(errno: Errno) -> womm_vfs::Result<T> {
    Err(Error::Errno(errno))
}

fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

#[tokio::test]
async fn edits_appear_at_once() {
    let export = Export::fresh();
    let root = export.vfs.root();
    assert_eq!(export.names(root).await, [""; 0]);
    fs::create_dir(export.at("folder")).unwrap();
    fs::write(export.at("folder/file"), "one").unwrap();
    assert_eq!(export.names(root).await, ["folder"]);
    let file = export.walk("folder/file").await.unwrap();
    assert_eq!(export.content(file.id).await.unwrap(), "one");
    fs::write(export.at("folder/file"), "two!").unwrap();
    let after = export.getattr(file.id).await.unwrap();
    assert!(after.size == 4 && after.change > file.change);
    assert_eq!(export.content(file.id).await.unwrap(), "two!");
    fs::remove_file(export.at("folder/file")).unwrap();
    assert_eq!(export.walk("folder/file").await, refused(Errno::NOENT));
    assert_eq!(export.getattr(file.id).await, Err(Error::Stale));
    let folder = export.walk("folder").await.unwrap().id;
    fs::remove_dir(export.at("folder")).unwrap();
    assert_eq!(export.getattr(folder).await, Err(Error::Stale));
    assert_eq!(export.make(folder, "x", &new_file()).await, Err(Error::Stale));
}

#[tokio::test]
async fn a_file_that_an_editor_replaced_is_another() {
    let export = Export::fresh();
    fs::write(export.at("file"), "old").unwrap();
    let old = export.walk("file").await.unwrap().id;
    fs::write(export.at("file~"), "new").unwrap();
    fs::rename(export.at("file~"), export.at("file")).unwrap();
    let new = export.walk("file").await.unwrap().id;
    assert_ne!(old, new);
    assert_eq!(export.content(new).await.unwrap(), "new");
    assert_eq!(export.getattr(old).await, Err(Error::Stale));
}

#[tokio::test]
async fn what_others_move_keeps_its_number() {
    let mut export = Export::fresh();
    fs::create_dir_all(export.at("a/b")).unwrap();
    fs::write(export.at("a/b/file"), "x").unwrap();
    let file = export.walk("a/b/file").await.unwrap().id;
    let folder = export.walk("a/b").await.unwrap().id;
    fs::rename(export.at("a"), export.at("moved")).unwrap();
    assert_eq!(export.content(file).await.unwrap(), "x", "its folder is open");
    export = export.restart();
    assert_eq!(export.content(file).await, Err(Error::Stale), "nobody knows where it is");
    assert_eq!(export.walk("moved/b/file").await.unwrap().id, file);
    assert_eq!(export.content(file).await.unwrap(), "x");
    export = export.restart();
    assert_eq!(export.content(file).await.unwrap(), "x");
    assert_eq!(export.getattr(folder).await.unwrap().kind, Kind::Folder);
}

#[tokio::test]
async fn a_name_that_others_gave_is_a_second_way() {
    let mut export = Export::fresh();
    let file = export.make(export.vfs.root(), "first", &new_file()).await.unwrap();
    export.write(file, b"x").await.unwrap();
    fs::hard_link(export.at("first"), export.at("second")).unwrap();
    assert_eq!(export.walk("second").await.unwrap().id, file);
    fs::remove_file(export.at("first")).unwrap();
    export = export.restart();
    assert_eq!(export.content(file).await.unwrap(), "x");
    assert_eq!(export.getattr(file).await.unwrap().links, 1);
}

#[tokio::test]
async fn a_name_that_others_gave_to_something_else_is_not_in_the_way() {
    let mut export = Export::fresh();
    let root = export.vfs.root();
    for (name, second) in [("folder", "2nd"), ("socket", "3rd"), ("file", "4th")] {
        let file = export.make(root, name, &new_file()).await.unwrap();
        export.write(file, b"x").await.unwrap();
        export.vfs.link(&cx(), file, root, &named(second)).await.unwrap();
        fs::remove_file(export.at(name)).unwrap();
        match name {
            "folder" => fs::create_dir(export.at(name)).unwrap(),
            "socket" => drop(std::os::unix::net::UnixListener::bind(export.at(name)).unwrap()),
            _ => fs::write(export.at(name), "theirs").unwrap(),
        }
        export = export.restart();
        assert_eq!(export.content(file).await.unwrap(), "x", "{name}");
        export.write(file, b"y").await.unwrap();
        assert_eq!(fs::read(export.at(second)).unwrap(), b"y");
        // Where it has no other, it is gone, and does not say what the other would.
        fs::remove_file(export.at(second)).unwrap();
        export = export.restart();
        assert_eq!(export.content(file).await, Err(Error::Stale), "{name}");
    }
    assert_eq!(fs::read(export.at("file")).unwrap(), b"theirs");
}

#[tokio::test]
async fn a_folder_that_others_remove_takes_no_file_along_that_has_another_name() {
    let mut export = Export::fresh();
    let root = export.vfs.root();
    fs::create_dir_all(export.at("a/b")).unwrap();
    fs::write(export.at("a/b/file"), "x").unwrap();
    let file = export.walk("a/b/file").await.unwrap().id;
    export.vfs.link(&cx(), file, root, &named("second")).await.unwrap();
    fs::remove_dir_all(export.at("a")).unwrap();
    export = export.restart();
    assert_eq!(export.getattr(file).await.unwrap().links, 1);
    assert_eq!(export.content(file).await.unwrap(), "x");
}

/// It is looked for neither there nor, for that, in itself.
#[tokio::test]
async fn a_folder_that_was_not_moved_into_itself_is_gone_where_others_move_it() {
    let mut export = Export::fresh();
    let root = export.vfs.root();
    let above = export.make(root, "above", &New::Folder { set: mode(0o755) }).await.unwrap();
    let below = export.make(above, "below", &New::Folder { set: mode(0o755) }).await.unwrap();
    let moved = export.vfs.rename(&cx(), (root, &named("above")), (below, &named("x"))).await;
    assert_eq!(moved.map(drop), refused(Errno::INVAL));
    export = export.restart();
    fs::rename(export.at("above"), export.at("moved")).unwrap();
    assert_eq!(export.getattr(below).await, Err(Error::Stale));
    assert_eq!(export.walk("moved/below").await.unwrap().id, below);
}

/// As a rename does that was interrupted before it was made or refused: its new name is noted before.
#[tokio::test]
async fn false_names_that_lead_in_a_circle_end() {
    let mut export = Export::fresh();
    fs::create_dir_all(export.at("one")).unwrap();
    fs::create_dir_all(export.at("two")).unwrap();
    let (one, two) = (export.walk("one").await.unwrap().id, export.walk("two").await.unwrap().id);
    let Export { vfs, folder, state } = export;
    drop(Arc::into_inner(vfs).unwrap());
    let database = rusqlite::Connection::open(state.path().join("nodes.sqlite")).unwrap();
    for (node, within) in [(one, two), (two, one)] {
        let names = (node.0.cast_signed(), within.0.cast_signed(), b"x");
        database.execute("INSERT INTO names VALUES (?1, ?2, ?3)", names).unwrap();
    }
    drop(database);
    for name in ["one", "two"] {
        fs::rename(folder.path().join(name), folder.path().join(format!("{name} moved"))).unwrap();
    }
    let vfs = Arc::new(DiskVfs::open(folder.path(), state.path()).unwrap());
    export = Export { vfs, folder, state };
    assert_eq!(export.getattr(one).await, Err(Error::Stale));
    assert_eq!(export.walk("two moved").await.unwrap().id, two);
}

#[tokio::test]
async fn nothing_leads_out() {
    let mut export = Export::fresh();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), export.at("way out")).unwrap();
    symlink("/proc/self/root", export.at("magic")).unwrap();
    for way in ["way out", "magic"] {
        assert_eq!(export.walk(way).await.unwrap().kind, Kind::Symlink);
        let below = export.walk(&format!("{way}/secret")).await;
        assert_eq!(below, refused(Errno::LOOP));
        let node = export.walk(way).await.unwrap().id;
        assert_eq!(export.content(node).await, refused(Errno::INVAL));
        assert_eq!(export.make(node, "x", &new_file()).await, refused(Errno::NOTDIR));
    }
    // A folder that is known becomes a symlink behind our back.
    fs::create_dir(export.at("folder")).unwrap();
    fs::write(export.at("folder/secret"), "ours").unwrap();
    let folder = export.walk("folder").await.unwrap().id;
    let file = export.walk("folder/secret").await.unwrap().id;
    export = export.restart();
    fs::rename(export.at("folder"), outside.path().join("folder")).unwrap();
    symlink(outside.path(), export.at("folder")).unwrap();
    assert_eq!(export.getattr(folder).await, Err(Error::Stale));
    assert_eq!(export.content(file).await, Err(Error::Stale));
    assert_eq!(export.make(folder, "x", &new_file()).await, Err(Error::Stale));
    assert_eq!(export.walk("folder/secret").await, refused(Errno::LOOP));
    // And a file.
    fs::write(export.at("file"), "ours").unwrap();
    let file = export.walk("file").await.unwrap().id;
    fs::remove_file(export.at("file")).unwrap();
    symlink(outside.path().join("secret"), export.at("file")).unwrap();
    assert_eq!(export.content(file).await, Err(Error::Stale));
    assert!(export.write(file, b"x").await.is_err());
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn what_is_neither_file_nor_folder_nor_symlink_is_not_shown() {
    let export = Export::fresh();
    let root = export.vfs.root();
    mknodat(CWD, export.at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(export.at("socket")).unwrap();
    fs::write(export.at("file"), "").unwrap();
    assert_eq!(export.names(root).await, ["file"]);
    for name in ["fifo", "socket"] {
        assert_eq!(export.walk(name).await, refused(Errno::NOENT));
        assert_eq!(export.vfs.remove(&cx(), root, &named(name)).await, refused(Errno::NOENT));
        assert_eq!(export.make(root, name, &new_file()).await, refused(Errno::EXIST), "the name is taken");
    }
    // A file becomes a FIFO behind our back: nobody waits for a writer.
    let file = export.walk("file").await.unwrap().id;
    fs::remove_file(export.at("file")).unwrap();
    mknodat(CWD, export.at("file"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(export.content(file).await, Err(Error::Stale));
}

#[tokio::test]
async fn modes_that_would_keep_us_out_are_kept_beside() {
    let mut export = Export::fresh();
    let root = export.vfs.root();
    let on_disk = |export: &Export, name: &str| fs::metadata(export.at(name)).unwrap().mode() & 0o7777;
    let new = New::File { mode: Create::Guarded, set: mode(0o444) };
    let file = export.make(root, "file", &new).await.unwrap();
    let folder = export.make(root, "folder", &New::Folder { set: mode(0o555) }).await.unwrap();
    assert_eq!((on_disk(&export, "file"), on_disk(&export, "folder")), (0o644, 0o755));
    export = export.restart();
    assert_eq!(export.getattr(file).await.unwrap().mode, 0o444);
    assert_eq!(export.getattr(folder).await.unwrap().mode, 0o555);
    // Somebody else sets another: the disk wins.
    fs::set_permissions(export.at("file"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(export.getattr(file).await.unwrap().mode, 0o640);
    // setuid is neither shown nor set, and what somebody else has set stays until we set a mode.
    fs::set_permissions(export.at("file"), fs::Permissions::from_mode(0o6755)).unwrap();
    assert_eq!(export.getattr(file).await.unwrap().mode, 0o755);
    export.vfs.setattr(&cx(), file, &mode(0o4700)).await.unwrap();
    assert_eq!((on_disk(&export, "file"), export.getattr(file).await.unwrap().mode), (0o700, 0o700));
}

#[tokio::test]
async fn what_is_unlinked_while_open_is_in_no_listing_and_leaves_nothing() {
    let mut export = Export::fresh();
    let root = export.vfs.root();
    let file = export.make(root, "file", &new_file()).await.unwrap();
    export.write(file, b"kept").await.unwrap();
    export.vfs.open(&cx(), file).await.unwrap();
    export.vfs.remove(&cx(), root, &named("file")).await.unwrap();
    assert_eq!(export.names(root).await, [""; 0]);
    let hidden = fs::read_dir(export.folder.path()).unwrap().next().unwrap().unwrap();
    let name = hidden.file_name().into_string().unwrap();
    assert!(name.starts_with(".womm-unlinked-"), "{name}");
    assert_eq!(hidden.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(export.walk(&name).await, refused(Errno::NOENT));
    assert_eq!(export.make(root, &name, &new_file()).await, refused(Errno::PERM));
    export = export.restart();
    export.vfs.reopen(file).unwrap();
    export.vfs.reclaimed();
    assert_eq!(export.content(file).await.unwrap(), "kept");
    export.vfs.close(file);
    export = export.restart();
    export.vfs.reclaimed();
    assert_eq!(fs::read_dir(export.folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_name_others_take_is_refused_and_theirs_stays() {
    let export = Export::fresh();
    let root = export.vfs.root();
    assert_eq!(export.walk("file").await, refused(Errno::NOENT));
    fs::write(export.at("file"), "theirs").unwrap();
    assert_eq!(export.make(root, "file", &new_file()).await, refused(Errno::EXIST));
    assert_eq!(fs::read(export.at("file")).unwrap(), b"theirs");
}

#[tokio::test]
async fn a_state_folder_of_another_folder_shows_this_one() {
    let mut export = Export::fresh();
    let file = export.make(export.vfs.root(), "file", &new_file()).await.unwrap();
    drop(std::mem::replace(&mut export.folder, tempfile::tempdir().unwrap()));
    fs::write(export.at("other"), "").unwrap();
    let export = export.restart();
    assert_eq!(export.names(export.vfs.root()).await, ["other"]);
    assert_eq!(export.getattr(file).await, Err(Error::Stale));
}

/// A SIGKILL between the file and its row.
#[tokio::test]
async fn an_exclusive_create_that_was_not_answered_may_be_repeated() {
    let export = Export::fresh();
    let (root, state) = (export.vfs.root(), export.state.path().join("nodes.sqlite"));
    let (folder, state_folder) = (export.folder, export.state);
    drop(Arc::into_inner(export.vfs).unwrap());
    let table = rusqlite::Connection::open(state).unwrap();
    for name in ["made", "written by others", "never made"] {
        let intent = (root.0.cast_signed(), name.as_bytes(), [7u8; 8]);
        table.execute("INSERT INTO intents VALUES (?1, ?2, ?3)", intent).unwrap();
    }
    drop(table);
    fs::write(folder.path().join("made"), "").unwrap();
    fs::write(folder.path().join("written by others"), "x").unwrap();
    let vfs = Arc::new(DiskVfs::open(folder.path(), state_folder.path()).unwrap());
    let export = Export { vfs, folder, state: state_folder };
    let again = New::File { mode: Create::Exclusive([7; 8]), set: SetAttributes::default() };
    assert!(export.make(root, "made", &again).await.is_ok());
    assert_eq!(export.make(root, "written by others", &again).await, refused(Errno::EXIST));
    assert!(export.make(root, "never made", &again).await.is_ok());
}
