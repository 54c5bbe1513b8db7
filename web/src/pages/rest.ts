// The small pages that are loaded together.

export { ArchivePage } from "./archive";
export { CostPage } from "./cost";
export { MePage } from "./me";
