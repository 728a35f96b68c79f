const { randomInt } = require('node:crypto');

/** A plugin can be a single file. This one rolls what is asked for: GET /api/plugins/dice/2d6 */
module.exports = {
  info: { id: 'dice', name: 'Dice', description: 'Rolls dice where nobody can say that the model made it up' },

  init: async (router) => {
    // Express 4: what is in brackets is a regular expression.
    router.get('/:count(\\d{1,2})d:sides(\\d{1,4})', (req, res) => {
      const [count, sides] = [Number(req.params.count), Number(req.params.sides)];
      if (sides < 1) return res.status(400).json({ error: 'A die has a side at least' });
      const rolls = Array.from({ length: count }, () => randomInt(sides) + 1);
      res.json({ dice: `${count}d${sides}`, rolls, total: rolls.reduce((sum, one) => sum + one, 0) });
    });
  },
};
