//! Merges of files in Git LFS: their contents come along.

use std::{fs, path::Path};

use needs::needs;

use super::{
    merged,
    shop::{Shop, gates},
    truth::{refused, story_by},
};
use crate::guard::BranchFault;

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
                       oid sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nsize 4\n";

/// A shop with `old.bin` in Git LFS.
fn shop() -> Shop {
    let shop = Shop::new();
    shop.git(&["lfs", "install", "--local"]);
    shop.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    shop.write("old.bin", "old content");
    shop.commit_all("large files");
    shop
}

#[tokio::test]
async fn a_merges_gates_and_the_main_checkout_have_the_contents_and_not_the_pointers() {
    needs!(GitLfs);
    let shop = shop();
    let request = story_by(&shop, 1, |place: &Path| {
        fs::write(place.join("old.bin"), "changed content").expect("a file");
        fs::write(place.join("new.bin"), "new content").expect("a file");
    });
    // Touched and not changed: nobody's file is in the way.
    let old = fs::File::options().write(true).open(shop.path("old.bin")).expect("a file");
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("it is touched");
    merged(
        shop.merge(
            &request,
            gates(&["grep -q '^changed content$' old.bin", "grep -q '^new content$' new.bin"]),
        )
        .await,
    );
    assert_eq!(
        (shop.read("old.bin").as_str(), shop.read("new.bin").as_str()),
        ("changed content", "new content")
    );
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
    assert!(shop.git(&["cat-file", "blob", "main:new.bin"]).starts_with("version https://git-lfs"));
}

#[tokio::test]
async fn a_pointer_whose_content_is_nowhere_is_refused_and_a_text_about_pointers_is_not() {
    needs!(GitLfs);
    let shop = shop();
    let request = story_by(&shop, 1, |place: &Path| {
        fs::write(place.join("lost.bin"), POINTER).expect("a file");
        fs::write(place.join("pointer.md"), POINTER).expect("a file");
    });
    let faults = refused(shop.merge(&request, gates(&[])).await);
    assert_eq!(faults, [BranchFault::MissingContents { paths: vec!["lost.bin".into()] }]);
    insta::assert_snapshot!(faults[0], @"`lost.bin` is in Git LFS, and the branch has the name of a content that is neither here nor on the remote. Write the file itself and commit it with `git add`, which stores the content; or take the change out of the branch.");
    assert!(!shop.path("lost.bin").exists());
}

#[tokio::test]
async fn an_earlier_content_that_only_the_remote_has_is_fetched_for_a_story_that_goes_back_to_it() {
    needs!(GitLfs);
    let shop = shop();
    let remote = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", remote.path().display());
    shop.git(&["init", "-q", "--bare", remote.path().to_str().expect("text")]);
    shop.git(&["remote", "add", "origin", &url]);
    shop.git(&["push", "-q", "origin", "main"]);
    let earlier = shop.git(&["cat-file", "blob", "main:old.bin"]);
    shop.write("old.bin", "newer content");
    shop.commit_all("newer");
    shop.git(&["push", "-q", "origin", "main"]);
    fs::remove_dir_all(shop.path(".git/lfs/objects")).expect("they are gone");
    let request = story_by(&shop, 1, |place: &Path| {
        fs::write(place.join("old.bin"), format!("{earlier}\n")).expect("a file");
    });
    merged(shop.merge(&request, gates(&["grep -q '^old content$' old.bin"])).await);
    assert_eq!(shop.read("old.bin"), "old content");
}
