// What was spent: today against the budget, by day, and by story.

import { useView } from "../live/view";
import { count, usd } from "../parts/format";
import { NotRead } from "../parts/reading";
import { storyPath } from "../address";
import { board } from "../store/store";
import type { CostView } from "../wire";
import "../styles/later.css";
import "../styles/pages.css";

export function CostPage() {
  const reading = useView<CostView>("/api/cost", board.value?.spent_today.toFixed(1));
  const view = reading.view;
  return (
    <div class="narrow cost">
      <h1>Cost</h1>
      {view ? (
        <>
          <Today spent={view.today} budget={view.budget_today} />
          <Days days={view.days} />
          <Stories stories={view.stories} />
        </>
      ) : (
        <NotRead reading={reading} />
      )}
    </div>
  );
}

function Today({ spent, budget }: { spent: number; budget: number | null }) {
  return (
    <section class="card today" aria-labelledby="today">
      <h2 id="today">Today</h2>
      <p class="amount">
        {usd(spent)} {budget !== null && <span class="soft">of {usd(budget)}</span>}
      </p>
      {budget !== null && <meter min={0} max={budget} high={budget * 0.9} value={Math.min(spent, budget)} aria-label="Share of today's budget" />}
      {budget !== null && spent >= budget && <p>The day's budget is spent: nothing new starts until tomorrow or until it is raised.</p>}
    </section>
  );
}

function Days({ days }: { days: CostView["days"] }) {
  const most = Math.max(0.01, ...days.map((day) => day.usd));
  return (
    <section aria-labelledby="days">
      <h2 id="days">By day</h2>
      <p class="soft">Days begin at midnight UTC, as the budget's do.</p>
      <table class="bars-table">
        <thead>
          <tr>
            <th scope="col">Day</th>
            <th scope="col">US dollars</th>
            <th scope="col">Runs</th>
          </tr>
        </thead>
        <tbody>
          {days.map((day) => (
            <tr key={day.day}>
              <th scope="row">{day.day}</th>
              <td>
                <span class="bar-cell" style={{ width: `${(day.usd / most) * 60}%` }} aria-hidden="true" />
                {usd(day.usd)}
              </td>
              <td>{day.runs}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Stories({ stories }: { stories: CostView["stories"] }) {
  if (stories.length === 0) return null;
  return (
    <section aria-labelledby="by-story">
      <h2 id="by-story">By story</h2>
      <ul class="cost-stories">
        {stories.map((story) => (
          <li key={story.id}>
            <a href={storyPath(story.id)}>
              <span class="story-number">{story.id}</span> {story.title}
            </a>
            <span>{usd(story.usd)}</span>
            <span class="soft">{count(story.runs, "run")}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
