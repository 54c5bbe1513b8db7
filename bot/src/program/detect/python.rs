//! Python: uv, Poetry, or pip with `pyproject.toml`, `setup.py` or lists of requirements. All of them in `.venv`, since the home folder
//! of a story's processes is empty each time.

use toml::{Table, Value};

use super::{DetectedComponent, ProjectFiles, gate::quoted, nearest, relative};

pub(super) const MANIFESTS: [&str; 5] =
    ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "uv.lock"];

/// Extras and groups of dependencies that tests need, by their usual names.
const FOR_TESTS: [&str; 5] = ["test", "tests", "testing", "dev", "develop"];

/// Lists of requirements that tests need.
const TEST_REQUIREMENTS: [&str; 7] = [
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements-tests.txt",
    "requirements_dev.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
    "tests-requirements.txt",
];

/// The manifests of one folder.
struct PythonProject<'a> {
    files: &'a ProjectFiles,
    folder: &'a str,
    pyproject: Table,
}

/// What the gate runs.
enum TestRunner {
    Pytest,
    Tox,
    Nox,
    Unittest,
}

pub(super) fn detect(files: &ProjectFiles, folder: &str) -> Option<DetectedComponent> {
    let pyproject = files.text(folder, "pyproject.toml").parse().unwrap_or_default();
    let project = PythonProject { files, folder, pyproject };
    let lock = nearest(files, folder, &["uv.lock", "poetry.lock"]);
    match lock {
        Some((above, "uv.lock")) => Some(project.uv(&relative(folder, above, "uv.lock"))),
        Some((above, _)) if above == folder => Some(project.poetry(true)),
        _ if project.tool("poetry").is_some_and(|poetry| poetry.contains_key("dependencies")) => {
            Some(project.poetry(false))
        }
        _ => project.pip(),
    }
}

impl PythonProject<'_> {
    fn uv(&self, lock: &str) -> DetectedComponent {
        let mut wanted = String::new();
        self.extras().for_each(|extra| wanted.push_str(&format!(" --extra {}", quoted(&extra))));
        // `dev` is installed by itself.
        let groups = self.groups().filter(|group| group != "dev");
        groups.for_each(|group| wanted.push_str(&format!(" --group {}", quoted(&group))));
        // A lock file that is behind is said to be so, and serves all the same: many projects have one that only developers use.
        let setup = format!("uv sync --locked{wanted} || uv sync --frozen{wanted}");
        let run = "uv run --no-sync";
        let gate = self.runner().map(|runner| match runner {
            TestRunner::Pytest if self.declares("pytest") => format!("{run} python -m pytest"),
            TestRunner::Pytest => format!("{run} --with pytest python -m pytest"),
            TestRunner::Tox => "uvx --with tox-uv tox run".to_owned(),
            TestRunner::Nox => "uvx nox".to_owned(),
            TestRunner::Unittest => format!("{run} python -m unittest discover"),
        });
        self.component("uv", setup, vec![lock.to_owned(), "pyproject.toml".into()], gate)
    }

    fn poetry(&self, is_locked: bool) -> DetectedComponent {
        let mut setup = "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction".to_owned();
        self.extras().for_each(|extra| setup.push_str(&format!(" --extras {}", quoted(&extra))));
        let gate = self.runner().map(|runner| match runner {
            TestRunner::Pytest => "poetry run python -m pytest",
            TestRunner::Tox => "poetry run python -m tox run",
            TestRunner::Nox => "poetry run python -m nox",
            TestRunner::Unittest => "poetry run python -m unittest discover",
        });
        let lock = is_locked.then(|| "poetry.lock".to_owned());
        let inputs = lock.into_iter().chain(["pyproject.toml".to_owned()]).collect();
        self.component("poetry", setup, inputs, gate.map(str::to_owned))
    }

    /// `None` where the manifests are there for a linter only.
    fn pip(&self) -> Option<DetectedComponent> {
        let (files, folder) = (self.files, self.folder);
        let runner = self.runner();
        let mut wanted: Vec<String> = Vec::new();
        let mut inputs: Vec<String> = Vec::new();
        let lists = TEST_REQUIREMENTS.into_iter().filter(|list| files.has(folder, list));
        for list in ["requirements.txt"].into_iter().filter(|list| files.has(folder, list)).chain(lists) {
            wanted.push(format!("-r {list}"));
            inputs.push(list.to_owned());
        }
        if self.is_package() {
            let extras: Vec<String> = self.extras().collect();
            let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
            wanted.push(format!("-e {}", quoted(&format!(".{extras}"))));
            let manifests = ["pyproject.toml", "setup.py", "setup.cfg"].into_iter();
            inputs.extend(manifests.filter(|name| files.has(folder, name)).map(str::to_owned));
        }
        wanted.extend(self.groups().map(|group| format!("--group {}", quoted(&group))));
        if wanted.is_empty() && runner.is_none() {
            return None;
        }
        let (gate, needs) = match runner {
            Some(TestRunner::Pytest) => (Some(".venv/bin/python -m pytest"), Some("pytest")),
            Some(TestRunner::Tox) => (Some(".venv/bin/python -m tox run"), Some("tox")),
            Some(TestRunner::Nox) => (Some(".venv/bin/python -m nox"), Some("nox")),
            Some(TestRunner::Unittest) => (Some(".venv/bin/python -m unittest discover"), None),
            None => (None, None),
        };
        // pip leaves alone what is there already.
        wanted.extend(needs.map(str::to_owned));
        let mut setup = vec!["python3 -m venv .venv".to_owned()];
        if self.groups().next().is_some() {
            setup.push(".venv/bin/python -m pip install --quiet --upgrade pip".into());
        }
        if !wanted.is_empty() {
            setup.push(format!(".venv/bin/python -m pip install --quiet {}", wanted.join(" ")));
        }
        let inputs = if inputs.is_empty() { vec!["pyproject.toml".into()] } else { inputs };
        let component = self.component("pip", String::new(), inputs, gate.map(str::to_owned));
        Some(DetectedComponent { setup, program: "python3", ..component })
    }

    fn component(
        &self,
        tool: &'static str,
        setup: String,
        inputs: Vec<String>,
        gate: Option<String>,
    ) -> DetectedComponent {
        DetectedComponent {
            tool,
            program: tool,
            path: self.folder.to_owned(),
            setup: vec![setup],
            inputs,
            gate,
            manifest: "pyproject.toml",
            more_hosts: Vec::new(),
        }
    }

    fn runner(&self) -> Option<TestRunner> {
        let (files, folder) = (self.files, self.folder);
        let text = |name: &str| files.text(folder, name);
        let uses_pytest = self.tool("pytest").is_some()
            || files.has(folder, "pytest.ini")
            || files.has(folder, "conftest.py")
            || files.has(folder, "tests/conftest.py")
            || files.has(folder, "test/conftest.py")
            || text("setup.cfg").contains("[tool:pytest]")
            || text("tox.ini").contains("[pytest]")
            || self.declares("pytest");
        let has_tox = files.has(folder, "tox.ini") || self.tool("tox").is_some();
        // Where only tox knows what the tests need, only tox can run them.
        let tests_are_declared = self.extras().next().is_some()
            || self.groups().next().is_some()
            || self.tool("poetry").is_some()
            || self.declares("pytest");
        match (uses_pytest, has_tox) {
            (_, true) if !tests_are_declared => Some(TestRunner::Tox),
            (true, _) => Some(TestRunner::Pytest),
            (false, true) => Some(TestRunner::Tox),
            (false, false) if files.has(folder, "noxfile.py") => Some(TestRunner::Nox),
            (false, false) => self.has_tests().then_some(TestRunner::Unittest),
        }
    }

    fn has_tests(&self) -> bool {
        let is_test = |name: &str| name.starts_with("test") && name.ends_with(".py");
        let join = |name: &str| match self.folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        ["", "tests", "test"].iter().any(|folder| {
            let folder = if folder.is_empty() { self.folder.to_owned() } else { join(folder) };
            self.files.in_folder(&folder).any(is_test)
        })
    }

    /// Whether a manifest lists this package. A word in a list of requirements is enough: `pytest`, `pytest>=8`, `pytest-cov`.
    fn declares(&self, package: &str) -> bool {
        let lists = ["requirements.txt"].into_iter().chain(TEST_REQUIREMENTS);
        let mut lines: Vec<String> = lists
            .flat_map(|list| {
                self.files.text(self.folder, list).lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        let project = &self.pyproject;
        let strings = |value: Option<&Value>| {
            let list = value.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let own = project.get("project").and_then(Value::as_table);
        lines.extend(strings(own.and_then(|own| own.get("dependencies"))));
        let tables = [own.and_then(|own| own.get("optional-dependencies")), project.get("dependency-groups")];
        for table in tables.into_iter().flatten().filter_map(Value::as_table) {
            let for_tests = table.iter().filter(|(name, _)| FOR_TESTS.contains(&name.as_str()));
            for_tests.for_each(|(_, list)| lines.extend(strings(Some(list))));
        }
        let uv = self.tool("uv").and_then(|uv| uv.get("dev-dependencies"));
        lines.extend(strings(uv));
        lines.extend(self.poetry_packages());
        lines.iter().any(|line| line.trim_start().to_lowercase().starts_with(package))
    }

    fn poetry_packages(&self) -> Vec<String> {
        let Some(poetry) = self.tool("poetry") else { return Vec::new() };
        let groups = poetry.get("group").and_then(Value::as_table).into_iter().flat_map(Table::values);
        let in_groups = groups.filter_map(|group| group.get("dependencies"));
        let tables = [poetry.get("dependencies"), poetry.get("dev-dependencies")].into_iter().flatten();
        let tables = tables.chain(in_groups).filter_map(Value::as_table);
        tables.flat_map(|table| table.keys().cloned()).collect()
    }

    fn tool(&self, name: &str) -> Option<&Table> {
        self.pyproject.get("tool")?.get(name)?.as_table()
    }

    fn is_package(&self) -> bool {
        self.files.has(self.folder, "setup.py")
            || self.pyproject.contains_key("build-system")
            || self.pyproject.get("project").is_some_and(|project| project.get("name").is_some())
    }

    fn extras(&self) -> impl Iterator<Item = String> + use<'_> {
        let own = self.pyproject.get("project").and_then(|project| project.get("optional-dependencies"));
        let poetry = self.tool("poetry").and_then(|poetry| poetry.get("extras"));
        for_tests(own.or(poetry))
    }

    /// `[dependency-groups]` of PEP 735.
    fn groups(&self) -> impl Iterator<Item = String> + use<'_> {
        for_tests(self.pyproject.get("dependency-groups"))
    }
}

fn for_tests(table: Option<&Value>) -> impl Iterator<Item = String> + use<'_> {
    let names = table.and_then(Value::as_table).into_iter().flat_map(Table::keys);
    names.filter(|name| FOR_TESTS.contains(&name.as_str())).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(files: &[(&str, &str)]) -> String {
        let Some(found) = detect(&ProjectFiles::in_memory(files), "") else { return "none".into() };
        let gate = found.gate.unwrap_or_else(|| "none".into());
        format!("{} | {} | {gate}", found.setup.join("; "), found.inputs.join(" "))
    }

    #[test]
    fn uv_installs_what_tests_need_from_its_lock_file() {
        let pyproject = "[project]\nname = \"x\"\n[project.optional-dependencies]\ntest = [\"pytest\"]\n\
                         docs = [\"sphinx\"]\n[dependency-groups]\ndev = [\"ruff\"]\ntesting = [\"hypothesis\"]\n";
        assert_eq!(
            shown(&[("pyproject.toml", pyproject), ("uv.lock", "")]),
            "uv sync --locked --extra test --group testing || uv sync --frozen --extra test --group testing | uv.lock pyproject.toml | uv run --no-sync python -m pytest"
        );
        let bare = "[project]\nname = \"x\"\n[tool.pytest.ini_options]\n";
        assert_eq!(
            shown(&[("pyproject.toml", bare), ("uv.lock", "")]),
            "uv sync --locked || uv sync --frozen | uv.lock pyproject.toml | uv run --no-sync --with pytest python -m pytest"
        );
    }

    #[test]
    fn poetry_keeps_its_environment_in_the_worktree() {
        let pyproject = "[tool.poetry]\nname = \"x\"\n[tool.poetry.dependencies]\npython = \"^3.11\"\n\
                         [tool.poetry.group.dev.dependencies]\npytest = \"*\"\n";
        assert_eq!(
            shown(&[("pyproject.toml", pyproject), ("poetry.lock", "")]),
            "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction | poetry.lock pyproject.toml | \
             poetry run python -m pytest"
        );
    }

    #[test]
    fn pip_installs_the_package_its_requirements_and_the_runner_of_the_tests() {
        let pyproject = "[build-system]\nrequires = [\"hatchling\"]\n[project]\nname = \"x\"\n\
                         [project.optional-dependencies]\ndev = [\"pytest\"]\n";
        assert_eq!(
            shown(&[("pyproject.toml", pyproject)]),
            "python3 -m venv .venv; .venv/bin/python -m pip install --quiet -e '.[dev]' pytest | pyproject.toml | \
             .venv/bin/python -m pytest"
        );
        assert_eq!(
            shown(&[
                ("requirements.txt", "flask\n"),
                ("dev-requirements.txt", "x"),
                ("tests/test_app.py", "")
            ]),
            "python3 -m venv .venv; .venv/bin/python -m pip install --quiet -r requirements.txt -r dev-requirements.txt | \
             requirements.txt dev-requirements.txt | .venv/bin/python -m unittest discover"
        );
        let group = "[project]\nname = \"x\"\n[dependency-groups]\ntests = [\"pytest>=8\"]\n";
        assert_eq!(
            shown(&[("pyproject.toml", group)]),
            "python3 -m venv .venv; .venv/bin/python -m pip install --quiet --upgrade pip; \
             .venv/bin/python -m pip install --quiet -e . --group tests pytest | pyproject.toml | .venv/bin/python -m pytest"
        );
    }

    #[test]
    fn what_only_tox_knows_is_left_to_tox_and_a_linters_settings_are_no_project() {
        assert_eq!(
            shown(&[("setup.py", ""), ("tox.ini", "[testenv]\ndeps = pytest\n"), ("conftest.py", "")]),
            "python3 -m venv .venv; .venv/bin/python -m pip install --quiet -e . tox | setup.py | .venv/bin/python -m tox run"
        );
        assert_eq!(shown(&[("pyproject.toml", "[tool.black]\nline-length = 100\n")]), "none");
    }
}
