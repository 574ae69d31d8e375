-- received = rated + exempt + trial + blocked + duplicate + parked + late + rejected, for every commit of every writer.
CREATE VIEW conservation AS
SELECT
    writer,
    sequence,
    received,
    events,
    rated,
    exempt,
    trial,
    blocked,
    duplicate,
    parked,
    late,
    rejected,
    received - (rated + exempt + trial + blocked + duplicate + parked + late + rejected) AS missing,
    received = rated + exempt + trial + blocked + duplicate + parked + late + rejected AND received = events AS holds
FROM commits;
