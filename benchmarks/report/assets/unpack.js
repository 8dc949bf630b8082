"use strict";

// The text of an element that holds gzip in base64.
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (each) => each.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// What a store holds comes in here and leaves as text nodes and attributes: no string is ever parsed as HTML.
const content = JSON.parse(await unpacked("content"));
