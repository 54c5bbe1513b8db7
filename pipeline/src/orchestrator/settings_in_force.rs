//! Keeps the settings in force up to date with base and the operator's confirmation.

use std::sync::Arc;

use super::{
    Orchestrator,
    housekeeping::merge_settings,
    lane::blocking,
    project_settings::{ConfigStamp, SettingsReading, edit_without_effect, with_consequence},
};
use crate::{config::ProjectConfig, event::PipelineEvent};

impl Orchestrator {
    /// Reads the settings again if base, the checkout or the operator's confirmation has changed. No watcher
    /// sees them all: base moves without a file in the checkout, and confirmations are outside of it.
    pub(super) fn reload_if_due(&mut self) {
        let (project, settings) = (self.context.project.clone(), Arc::clone(&self.context.settings));
        let base = self.config.base.clone();
        let read = move || ConfigStamp::read(&project, &base, &settings);
        self.spawn(blocking(read), |this, stamp| {
            if stamp.is_ok_and(|stamp| stamp != this.config.stamp) {
                this.reload();
            }
        });
    }

    /// Reads the settings again. Wrong or unconfirmed ones change nothing, and are reported.
    pub(super) fn reload(&mut self) {
        let (project, settings) = (self.context.project.clone(), Arc::clone(&self.context.settings));
        let base = self.config.base.clone();
        let read = move || {
            (ConfigStamp::read(&project, &base, &settings), SettingsReading::read(&project, &settings))
        };
        self.run_in_lane(&self.stories.lane, None, read, |this, read| {
            let Ok((stamp, reading)) = read else { return };
            this.config.stamp = stamp;
            this.take_reading(reading);
        });
    }

    fn take_reading(&mut self, reading: SettingsReading) {
        let SettingsReading { in_force, trouble, edited, .. } = reading;
        if let Some(config) = in_force {
            self.take_config(config, trouble.is_none());
        }
        if let Some(why) = trouble {
            self.refuse_config(&why);
        }
        if edited && !self.config.edited {
            self.publisher.alarm(None, edit_without_effect(&self.config.base));
        }
        self.config.edited = edited;
    }

    fn take_config(&mut self, config: ProjectConfig, is_current: bool) {
        let was_wrong = self.config.trouble.is_some();
        if is_current {
            self.config.trouble = None;
        }
        if *self.config.in_force == config && self.config.is_known && (!was_wrong || !is_current) {
            return;
        }
        if config.base_branch.as_deref().is_some_and(|base| base != self.config.base) {
            // Runs and merges under way refer to the base that was found at the start.
            let text = "`base_branch` in `project.toml` takes effect when storkit restarts.";
            self.publisher.alarm(None, text.to_owned());
        }
        self.config.in_force = Arc::new(config);
        self.config.is_known = true;
        let hosts = self.command_hosts();
        self.merges.configure(merge_settings(
            &self.config.base,
            &self.config.in_force,
            &self.context.settings,
            hosts,
        ));
        if was_wrong {
            self.publisher.emit(PipelineEvent::Paused { why: None });
        }
    }

    fn refuse_config(&mut self, why: &str) {
        let why = with_consequence(why, self.config.is_known);
        if self.config.trouble.as_ref() != Some(&why) {
            self.publisher.alarm(None, why.clone());
            self.config.trouble = Some(why);
        }
    }
}
