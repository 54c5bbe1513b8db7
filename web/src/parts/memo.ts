// Draws a component again only if one of its properties is another one. As in `preact/compat`, without its 5 kB.

import { Component, type ComponentChildren, type FunctionComponent } from "preact";

export function memo<Props extends object>(draw: (props: Props) => ComponentChildren): FunctionComponent<Props> {
  class Memo extends Component<Props> {
    override shouldComponentUpdate(next: Props, nextState: object): boolean {
      // Hooks and signals inside ask for an update by a new state.
      if (nextState !== this.state) return true;
      const before = this.props as Record<string, unknown>;
      return Object.entries(next).some(([key, value]) => before[key] !== value);
    }
    override render(): ComponentChildren {
      return draw(this.props);
    }
  }
  return Memo as unknown as FunctionComponent<Props>;
}
