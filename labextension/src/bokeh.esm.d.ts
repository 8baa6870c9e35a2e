declare module '@bokeh/bokehjs/build/js/bokeh.esm.min.js' {
  const bundle: unknown;
  export default bundle;
}
