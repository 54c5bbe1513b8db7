// A comment below a line of the diff: written, or being written. Every letter is kept in the draft.

import type { Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { Press } from "../parts/press";
import type { DiffLine } from "../wire";
import { commentOn, withComment, type Review } from "./review";

type Props = { path: string; line: DiffLine; review: Signal<Review>; isWriting: boolean; onWriting(is: boolean): void };

export function CommentBox({ path, line, review, isWriting, onWriting }: Props) {
  const field = useRef<HTMLTextAreaElement>(null);
  const text = commentOn(review.value, path, line)?.text ?? "";
  const change = (words: string) => (review.value = withComment(review.value, path, line, words));
  useEffect(() => {
    if (isWriting) field.current?.focus();
  }, [isWriting]);
  return (
    <div class="comment">
      {isWriting ? (
        <label>
          <span class="hidden">
            Comment on line {line.new ?? line.old} of {path}
          </span>
          <textarea
            ref={field}
            data-kept
            rows={2}
            value={text}
            placeholder="What should change here?"
            onInput={(event) => change(event.currentTarget.value)}
          />
        </label>
      ) : (
        <p class="comment-text">{text}</p>
      )}
      <div class="row">
        <Press onPress={() => onWriting(!isWriting)}>{isWriting ? "Done" : "Edit"}</Press>
        <Press
          kind="quiet"
          onPress={() => {
            change("");
            onWriting(false);
          }}
        >
          Remove
        </Press>
      </div>
    </div>
  );
}
