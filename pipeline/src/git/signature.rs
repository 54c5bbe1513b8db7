//! Who makes a commit that libgit2 writes.

use git2::{Repository, Signature};
use settings::environment;

/// The committer of the environment, as containers set it, then the configured one, then `storkit`: libgit2 itself reads only the
/// configuration.
pub fn committer(repository: &Repository) -> Result<Signature<'static>, git2::Error> {
    of_environment()
        .or_else(|| repository.signature().ok())
        .map_or_else(|| Signature::now("storkit", "storkit@localhost"), Ok)
}

fn of_environment() -> Option<Signature<'static>> {
    let value = |name: &str| environment::var(name).filter(|value| !value.trim().is_empty());
    let either =
        |what: &str| value(&format!("GIT_COMMITTER_{what}")).or_else(|| value(&format!("GIT_AUTHOR_{what}")));
    Signature::now(&either("NAME")?, &either("EMAIL")?).ok()
}
