//! Kinds of repositories, as people have them: in each, stories live from `init` to the merge, or `init` and `doctor` refuse it with a
//! sentence that says what to do.

mod life;

use needs::{needs, walls};

use self::life::KindLife;

/// A change of a file and a new one.
const WORK: &str = "echo more >> src/one.txt; echo new > src/new.txt; git add -A; git commit -qm work";

/// The same for the next story, which gets the slot of the first.
const MORE: &str = "test \"$(cat src/new.txt)\" = new; echo more >> src/new.txt; git commit -qam more";

/// Two stories, one after the other.
fn lives(mut life: KindLife) -> KindLife {
    life.init();
    life.serve("");
    life.lands(WORK);
    life.lands(MORE);
    assert_eq!(life.sh("git show refs/heads/main:src/new.txt"), "new\nmore");
    life
}

#[test]
fn a_sparse_checkout_stays_as_sparse_as_it_is() {
    needs!(Wall);
    let life = lives(KindLife::of("git sparse-checkout set --cone src"));
    assert_eq!(life.sh("cat src/new.txt; ls; git show main:other/two.txt"), "new\nmore\ngate.sh\nsrc\ntwo");
    life.end("");
}

#[test]
fn a_split_or_sparse_index_is_refused_and_with_the_advice_taken_stories_land() {
    needs!(Wall);
    let life = KindLife::of("git config core.splitIndex true; git update-index --split-index");
    life.is_refused(&["core.splitIndex", "git update-index --no-split-index"]);
    life.sh("git config core.splitIndex false && git update-index --no-split-index");
    lives(life).end("");
    let life = KindLife::of("git sparse-checkout set --cone --sparse-index src");
    life.is_refused(&["index.sparse", "git sparse-checkout reapply --no-sparse-index"]);
    life.sh("git sparse-checkout reapply --no-sparse-index");
    life.init();
}

#[test]
fn a_detached_head_stays_where_it_is_and_base_goes_on() {
    needs!(Wall);
    let life = KindLife::of("git commit -q --allow-empty -m second; git switch -q --detach HEAD~1");
    let head = life.sh("git rev-parse HEAD");
    let mut life = lives(life);
    assert_eq!(life.sh("git rev-parse HEAD"), head);
    life.sh("git switch -q main");
    life.lands("echo x > x.txt; git add -A; git commit -qm x");
    assert_eq!(life.sh("cat x.txt"), "x");
    life.sh("git switch -q --detach");
    life.lands("echo y > y.txt; git add -A; git commit -qm y");
    assert_eq!(life.sh("ls y.txt 2>/dev/null || git show main:y.txt"), "y");
    life.end("");
}

#[test]
fn what_storkit_cannot_read_is_refused_with_a_way_out() {
    let make =
        |option: &str| KindLife::made_by(&format!("rm -rf project; git init -q {option} -b main project"));
    make("--ref-format=reftable")
        .is_refused(&["stores its branches as a reftable", "git refs migrate --ref-format=files"]);
    make("--object-format=sha256").is_refused(&["names its objects by sha256", "SHA-1"]);
    make("--bare").is_refused(&["is a bare repository", "clone it"]);
}

#[test]
fn a_clone_that_is_shallow_partial_or_shares_its_objects_is_no_hindrance() {
    needs!(Wall);
    let clone = |options: &str| {
        format!(
            "git commit -q --allow-empty -m second; git config uploadpack.allowFilter true; cd ..; mv project origin; \
             git clone -q {options} project"
        )
    };
    for options in [
        "--depth 1 \"file://$PWD/origin\"",
        "--filter=blob:none \"file://$PWD/origin\"",
        "--shared origin",
        "--separate-git-dir=kept.git origin",
    ] {
        let life = lives(KindLife::of(&clone(options)));
        life.end("");
    }
}

#[test]
fn the_project_is_a_linked_worktree_of_a_bare_or_another_repository() {
    needs!(Wall);
    for script in [
        "cd ..; git clone -q --bare project bare.git; rm -rf project; git -C bare.git worktree add -q ../project main",
        "git switch -q -c mine; cd ..; mv project first; git -C first worktree add -q ../project main",
        "git config extensions.worktreeConfig true; git config --worktree core.autocrlf false",
    ] {
        lives(KindLife::of(script)).end("");
    }
}

#[test]
fn an_empty_repository_gets_its_first_commit_from_init() {
    needs!(Wall);
    let mut life = KindLife::made_by("rm -rf project; git init -q -b main project");
    let (code, text) = life.storkit(&["init", "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    life.serve("");
    life.lands("mkdir src; echo new > src/new.txt; git add -A; git commit -qm work");
    life.end("");
}

#[test]
fn line_endings_are_as_the_repository_says() {
    needs!(Wall);
    let mut life = KindLife::of(
        "git config core.autocrlf true; printf '*.txt text\\n*.sh text eol=lf\\n*.bat text eol=crlf\\n*.bin -text\\n' > .gitattributes; \
         printf 'a\\r\\n' > run.bat; printf 'b\\r\\n' > raw.bin; git add .; git commit -qm endings; rm src/one.txt; git checkout -q src",
    );
    assert_eq!(life.sh("od -c src/one.txt | head -1"), "0000000   o   n   e  \\r  \\n");
    life.init();
    life.serve("");
    life.lands(
        "printf 'c\\r\\n' >> run.bat; echo d >> raw.bin; echo e >> src/one.txt; git commit -qam endings",
    );
    assert_eq!(
        life.sh("git show main:run.bat main:src/one.txt | od -c | head -3"),
        "0000000   a  \\n   c  \\n   o   n   e  \\n   e  \\n\n0000012"
    );
    assert_eq!(life.sh("git show main:raw.bin | od -c | head -1"), "0000000   b  \\r  \\n   d  \\n");
    life.end("");
}

#[test]
fn names_of_files_are_any_bytes() {
    needs!(Wall);
    let names = r#"for name in 'a b' $'new\nline' 'quo"te' "it's" $'latin-\xe9' '-dash' ':colon' '*star' 'ümläut' $'tab\t' 'back\slash'; do"#;
    let mut life = KindLife::of(&format!(
        "{names} echo one > \"src/$name\"; done; echo upper > README; echo lower > readme; git add .; git commit -qm names"
    ));
    life.init();
    life.serve("");
    // `$'…'` is of bash, which runs the agent's lines.
    life.lands(&format!("{names} echo two >> \"src/$name\"; echo x > \"other/$name\"; done; git mv README Readme.md; git add -A; git commit -qm names"));
    life.lands("git rm -q src/a* 'other/*star'; git commit -qm fewer");
    let bytes = r#"for name in $'new\nline' $'latin-\xe9' '*star'; do cat "src/$name"; done; ls other | wc -l; cat readme Readme.md"#;
    assert_eq!(life.sh(bytes), "one\ntwo\none\ntwo\none\ntwo\n12\nlower\nupper");
    life.end("");
}

#[test]
fn a_persons_own_settings_of_git_change_nothing_for_storkit() {
    needs!(Wall);
    let global = "
        [color]\nui = always\n[core]\npager = false\nabbrev = 4\nquotePath = false\nsafecrlf = true\ncommentChar = %\nfsmonitor = false
        [diff]\nnoprefix = true\nexternal = false\nrenames = copies\nmnemonicPrefix = true\n[status]\nrelativePaths = true\nshort = true\nbranch = true
        [log]\nshowSignature = true\ndecorate = full\n[format]\npretty = oneline\n[merge]\nff = only\nconflictStyle = zdiff3
        [pull]\nrebase = true\n[rebase]\nautoStash = true\nupdateRefs = true\n[rerere]\nenabled = true\n[push]\ndefault = nothing
        [branch]\nautoSetupMerge = always\nautoSetupRebase = always\n[submodule]\nrecurse = true\n[commit]\nverbose = true\ncleanup = verbatim
        [fetch]\nprune = true\n[init]\ndefaultBranch = trunk\n[index]\nthreads = 4\n[safe]\nbareRepository = explicit\n[advice]\ndetachedHead = false
        [column]\nui = always\n[tag]\nsort = -version:refname\n[feature]\nmanyFiles = true\n[user]\nuseConfigOnly = true\n";
    let life = KindLife::of(&format!(
        "printf '%s' {} > \"$HOME/.gitconfig\"; git config --list > /dev/null",
        quoted(global)
    ));
    lives(life).end("");
}

#[test]
fn an_index_without_checksums_and_with_caches_is_read() {
    needs!(Wall);
    lives(KindLife::of(
        "git config feature.manyFiles true; git config index.skipHash true; git config core.untrackedCache true; \
         git update-index --index-version 4 --untracked-cache; git commit -q --allow-empty -m x; git commit-graph write; \
         git multi-pack-index write || true; git gc -q; git pack-refs --all; touch src/x; git add src/x; git commit -qm x",
    ))
    .end("");
}

#[test]
fn tags_and_files_that_have_a_branchs_name_are_not_taken_for_it() {
    needs!(Wall);
    lives(KindLife::of(
        "git tag main; git tag storkit/board; git commit -q --allow-empty -m second; echo x > main; mkdir storkit; echo x > storkit/board; \
         echo x > HEAD; git add -A; git commit -qm files",
    ))
    .end("");
}

#[test]
fn a_base_with_an_unusual_name_and_an_ignored_storkit_folder() {
    needs!(Wall);
    let mut life = KindLife::of(
        "git branch -m 'release/1.x-ü'; echo .storkit > .gitignore; git add .; git commit -qm ignored",
    );
    life.init();
    life.serve("");
    life.lands(WORK);
    assert_eq!(life.sh("git show 'release/1.x-ü':src/new.txt"), "new");
    life.end("");
}

#[test]
fn a_projects_hooks_are_not_run_by_storkit() {
    needs!(Wall);
    let life = lives(KindLife::of(
        "mkdir .husky; for hook in pre-commit commit-msg post-commit pre-merge-commit post-checkout post-merge reference-transaction; do \
         printf '#!/bin/sh\\ntouch \"$HOME/ran\"; exit 1\\n' > .husky/$hook; chmod +x .husky/$hook; done; \
         git add .; git commit -qm hooks; git config core.hooksPath .husky",
    ));
    assert!(life.sh("ls \"$HOME/ran\" 2>&1 || true").contains("No such file"));
    life.end("");
}

#[test]
fn a_signature_that_cannot_be_made_is_refused_by_init_and_asked_of_nobody_else() {
    needs!(Wall);
    let life = KindLife::of(
        "git config commit.gpgSign true; git config gpg.format ssh; git config user.signingKey /nonexistent/key",
    );
    let (code, text) = life.storkit(&["init", "--yes"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("git config commit.gpgSign false") && text.contains("Nothing was changed"),
        "{text}"
    );
    life.sh("git config commit.gpgSign false");
    life.init();
    life.sh("git config commit.gpgSign true");
    lives(life).end("");
}

#[test]
fn git_works_in_submodules_behind_every_wall() {
    needs!(Wall);
    for wall in walls() {
        let mut life = KindLife::of(
            "cd ..; git init -q -b main lib; cd lib; echo lib > lib.txt; git add .; git commit -qm library; cd ../project; \
             git -c protocol.file.allow=always submodule --quiet add \"file://$PWD/../lib\" vendor/lib; git commit -qm lib",
        );
        life.init();
        life.serve(wall);
        let work = "git -C vendor/lib status --porcelain && git -C vendor/lib log -1 --format=%s > log.txt && git -C vendor/lib rev-parse --show-toplevel >> log.txt && git submodule status > status.txt \
                    && git -C vendor/lib diff --stat && git add -A && git commit -qm look";
        life.lands(work);
        let said = life.sh("cat log.txt");
        assert!(said.starts_with("library\n") && said.ends_with("/vendor/lib"), "{wall}: {said}");
        assert!(!life.sh("cat status.txt").starts_with('-'), "{wall}");
        life.end("");
    }
}

/// `init` in a folder of a monorepo: its parts and tests are found, and set-up and gates run there.
#[test]
fn a_folder_of_a_monorepo_is_the_project() {
    needs!(Wall);
    let mut life = KindLife::of(
        "mkdir -p packages/api packages/web; touch packages/api/requirements.txt; echo '{}' > packages/web/package.json; \
         printf 'import unittest\nclass A(unittest.TestCase):\n  def test_a(self): self.assertTrue(open(\"where.txt\").read())\n' \
         > packages/api/test_app.py; echo here > packages/api/where.txt; printf '.venv/\n__pycache__/\n' > .gitignore; \
         rm gate.sh; git add -A; git commit -qm packages",
    );
    life.moves_to("packages/api");
    let (code, text) = life.storkit(&["init", "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("packages/api pip") && !text.contains("npm"), "{text}");
    let settings = life.sh("cat \"$(git rev-parse --show-toplevel)/.storkit/project.toml\"");
    assert!(settings.contains("folder = \"packages/api\""), "{settings}");
    assert!(
        settings.contains("gates = [\"cd packages/api && .venv/bin/python -m unittest discover\"]"),
        "{settings}"
    );
    life.serve("");
    life.lands("cd packages/api; pwd > where.txt; test -x .venv/bin/python && ls .. >> where.txt; git add -A . && git commit -qm where");
    let told = life.sh("cat where.txt");
    assert!(told.contains("/packages/api\napi\nweb"), "{told}");
    life.terminal().say("overview 1");
    life.terminal().see("`packages/api/where.txt` +3 -1");
    life.end("");
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
