// An address that leads nowhere.

export function NothingPage({ what = "There is nothing here." }: { what?: string }) {
  return (
    <div class="empty">
      <h1>{what}</h1>
      <p>
        <a href="/">To what needs you now</a>
      </p>
    </div>
  );
}
