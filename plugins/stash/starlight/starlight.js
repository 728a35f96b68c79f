// Runs in the page that shows it. `currentScript` says where the page has found it, and so where its assets are.
(() => {
  const here = document.currentScript.src.replace(/\/javascript(\?.*)?$/, '');
  const star = document.createElement('img');
  star.className = 'starlight';
  star.alt = '';
  star.src = `${here}/assets/images/star.svg`;
  document.querySelector('h1')?.prepend(star);
})();
