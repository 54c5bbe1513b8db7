use super::*;
use crate::worktree::fixture::WorktreeFixture;

const EVIL: &str = "gates = [\"./evil\"]\n";
const GOOD: &str = "gates = [\"make test\"]\n";

fn commit(git: &WorktreeFixture, text: &str) {
    git.write(PROJECT_TOML, text);
    git.git(&["add", PROJECT_TOML]);
    git.git(&["commit", "-q", "-m", "settings"]);
}

fn read(git: &WorktreeFixture) -> ProjectTrust {
    ProjectTrust::read(&git.project, &git.trust()).unwrap()
}

fn gates(git: &WorktreeFixture) -> Option<Vec<String>> {
    read(git).in_force(|_| None).unwrap().map(|loaded| loaded.config.gates)
}

#[test]
fn without_settings_of_its_own_a_project_has_the_defaults_and_nothing_to_confirm() {
    let git = WorktreeFixture::new();
    assert!(read(&git).is_confirmed());
    assert_eq!(gates(&git), Some(ProjectConfig::default().gates));
}

#[test]
fn nothing_of_a_repository_is_in_force_until_it_is_confirmed() {
    let git = WorktreeFixture::new();
    commit(&git, EVIL);
    assert!(!read(&git).is_confirmed());
    assert_eq!(gates(&git), None, "not even the defaults, which the repository may have made to fail");
    insta::assert_snapshot!(read(&git).unconfirmed_sentence(), @"You have not confirmed `.storkit/project.toml` on `main` yet, so nothing of this repository runs. `storkit trust` shows what it would run, and asks");
    git.confirm();
    assert_eq!(gates(&git), Some(vec!["./evil".into()]));
}

#[test]
fn after_a_change_the_version_confirmed_before_stays_in_force() {
    let git = WorktreeFixture::new();
    commit(&git, GOOD);
    git.confirm();
    commit(&git, EVIL);
    assert!(!read(&git).is_confirmed());
    assert_eq!(gates(&git), Some(vec!["make test".into()]));
    insta::assert_snapshot!(read(&git).unconfirmed_sentence(), @"`.storkit/project.toml` has changed on `main`, and the change is not confirmed. `storkit trust` shows it, and asks");
    git.git(&["rm", "-q", PROJECT_TOML]);
    git.git(&["commit", "-q", "-m", "none"]);
    assert_eq!(gates(&git), Some(vec!["make test".into()]), "its removal is a change too");
    insta::assert_snapshot!(read(&git).unconfirmed_sentence(), @"`main` has no `.storkit/project.toml`, but you confirmed one. Commit it there, or confirm with `storkit trust` that storkit's defaults apply");
    git.git(&["revert", "--no-edit", "HEAD"]);
    git.git(&["revert", "--no-edit", "HEAD~2"]);
    assert!(read(&git).is_confirmed(), "the confirmed text is back");
}

#[test]
fn an_edit_in_the_checkout_and_another_branch_there_change_nothing() {
    let git = WorktreeFixture::new();
    commit(&git, GOOD);
    git.confirm();
    git.write(PROJECT_TOML, EVIL);
    assert!(read(&git).is_confirmed() && read(&git).edited);
    git.git(&["switch", "-q", "-c", "evil"]);
    commit(&git, EVIL);
    assert!(read(&git).is_confirmed() && read(&git).edited);
    assert_eq!((gates(&git), read(&git).base), (Some(vec!["make test".into()]), "main".into()));
}

#[test]
fn the_confirmed_text_names_base_and_a_new_name_for_it_waits_like_any_change() {
    let git = WorktreeFixture::new();
    git.git(&["branch", "trunk"]);
    commit(&git, "base_branch = \"trunk\"\n");
    assert_eq!(
        read(&git).base,
        "trunk",
        "as long as nothing is confirmed, the detected branch may name another"
    );
    assert!(read(&git).is_confirmed(), "which has no settings");
    git.git(&["switch", "-q", "trunk"]);
    commit(&git, "base_branch = \"main\"\n");
    assert_eq!(read(&git).base, "trunk", "two branches do not send storkit in a circle");
    git.confirm();
    git.git(&["branch", "other"]);
    git.git(&["switch", "-q", "main"]);
    commit(&git, "base_branch = \"other\"\n");
    assert_eq!(read(&git).base, "main", "the confirmed text decides");
}

#[test]
fn programs_of_the_git_configuration_are_confirmed_with_it() {
    let git = WorktreeFixture::new();
    git.git(&["config", "filter.x.clean", "./evil"]);
    assert!(read(&git).has_unconfirmed_programs() && !read(&git).is_confirmed());
    insta::assert_snapshot!(read(&git).programs_sentence(), @"The git configuration of this repository names programs that git would run, so storkit does not use git here: filter.x.clean=./evil. Remove them with `git config --unset KEY`, or look at them and confirm them with `storkit trust`");
    git.confirm();
    assert!(!read(&git).has_unconfirmed_programs() && read(&git).is_confirmed());
    git.git(&["config", "filter.x.clean", "./other"]);
    assert!(read(&git).has_unconfirmed_programs());
    git.git(&["config", "--unset", "filter.x.clean"]);
    assert!(!read(&git).has_unconfirmed_programs(), "what is gone runs no more");
}

#[test]
fn wrong_settings_are_a_sentence_and_the_confirmed_ones_stay() {
    let git = WorktreeFixture::new();
    commit(&git, GOOD);
    git.confirm();
    commit(&git, "gates = [\n");
    assert_eq!(gates(&git), Some(vec!["make test".into()]));
    assert!(read(&git).proposed_config(|_| None).unwrap_err().contains("is not valid TOML"));
}
